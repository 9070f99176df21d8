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

interface Note {
  readonly pid: number;
  readonly member: string;
  readonly home: string;
  readonly gatewaySocket: string;
}

/** Undefined when this machine has an agent of its own, or no dev runs. */
export function readRunningDev(own: Paths): RunningDev | undefined {
  if (existsSync(own.agentSocket)) return undefined;
  try {
    const note = JSON.parse(readFileSync(noteFile(own), 'utf8')) as Note;
    process.kill(note.pid, 0);
    return { pid: note.pid, member: note.member, paths: { ...pathsIn(note.home), gatewaySocket: note.gatewaySocket } };
  } catch {
    // No note, or the process it names is gone.
    return undefined;
  }
}

/** @returns the way to take the note back. */
export function noteRunningDev(own: Paths, note: Omit<Note, 'pid'>): () => void {
  const file = noteFile(own);
  writeFileSync(file, JSON.stringify({ ...note, pid: process.pid }), { mode: 0o600 });
  return () => rmSync(file, { force: true });
}

function noteFile(own: Paths): string {
  return join(own.dev, 'running.json');
}
