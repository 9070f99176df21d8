/** How other commands find a running `moat dev`: a small file that names its pid and its first node. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathsIn, type Paths } from '../paths.ts';

export interface RunningDev {
  readonly pid: number;
  /** The member whose agent answers. */
  readonly member: string;
  readonly paths: Paths;
}

/** What the file says. */
export interface DevNote {
  readonly pid: number;
  readonly member: string;
  readonly home: string;
  readonly gatewaySocket: string;
  readonly url: string;
}

/** Undefined when this machine has an agent of its own, or no dev runs. */
export function readRunningDev(own: Paths): RunningDev | undefined {
  if (existsSync(own.agentSocket)) return undefined;
  const note = readNote(own);
  if (note === undefined) return undefined;
  const paths = { ...pathsIn(note.home), gatewaySocket: note.gatewaySocket };
  return { pid: note.pid, member: note.member, paths };
}

/** Undefined without a file, or when the process it names is gone. */
export function readNote(own: Paths): DevNote | undefined {
  try {
    const note = JSON.parse(readFileSync(noteFile(own), 'utf8')) as DevNote;
    process.kill(note.pid, 0);
    return note;
  } catch {
    return undefined;
  }
}

/** @returns the way to take the note back. */
export function noteRunningDev(own: Paths, note: Omit<DevNote, 'pid'>): () => void {
  const file = noteFile(own);
  writeFileSync(file, JSON.stringify({ ...note, pid: process.pid }), { mode: 0o600 });
  return () => rmSync(file, { force: true });
}

function noteFile(own: Paths): string {
  return join(own.dev, 'running.json');
}
