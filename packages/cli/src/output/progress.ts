/**
 * What is being waited for, on stderr: a line that turns on a terminal, plain lines elsewhere. Shown after
 * 300 ms; from 10 s on with the elapsed time.
 */
import type { Io } from '../io.ts';
import { createStyle, type Style } from './style.ts';
import { formatDuration } from './units.ts';

const SHOW_AFTER_MS = 300;
const ELAPSED_AFTER_MS = 10_000;
const TURN_MS = 80;
const REPEAT_MS = 30_000;
const TURNS = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏';

export interface Progress {
  /** Awaits `work`, saying `what` it waits for when that takes long. */
  during<T>(what: string, work: Promise<T>): Promise<T>;
  /** A line that stays. */
  say(line: string): void;
}

export function createProgress(io: Io, options: { readonly quiet: boolean }): Progress {
  const say = (line: string): void => {
    if (!options.quiet) io.stderr.write(`${line}\n`);
  };
  return {
    say,
    async during(what, work) {
      if (options.quiet) return work;
      const style = createStyle(io.stderr);
      const stop = io.stderr.isTTY === true ? turn(io, what, style) : tell(io, what, style);
      try {
        return await work;
      } finally {
        stop();
      }
    },
  };
}

function turn(io: Io, what: string, style: Style): () => void {
  const began = io.now();
  let drawn = false;
  let turns = 0;
  const timer = setInterval(() => {
    const elapsed = io.now() - began;
    if (elapsed < SHOW_AFTER_MS) return;
    const time = elapsed >= ELAPSED_AFTER_MS ? style.dim(` ${formatDuration(elapsed)}`) : '';
    io.stderr.write(`\r\u001b[2K${style.accent(TURNS[turns++ % TURNS.length] ?? '')} ${what}${time}`);
    drawn = true;
  }, TURN_MS);
  return () => {
    clearInterval(timer);
    if (drawn) io.stderr.write('\r\u001b[2K');
  };
}

function tell(io: Io, what: string, style: Style): () => void {
  const began = io.now();
  let timer: NodeJS.Timeout;
  const line = (next: number): void => {
    const elapsed = io.now() - began;
    const time = elapsed >= ELAPSED_AFTER_MS ? ` (${formatDuration(elapsed)})` : '';
    io.stderr.write(`${style.dim('…')} ${what}${time}\n`);
    timer = setTimeout(() => line(REPEAT_MS), next);
  };
  timer = setTimeout(() => line(ELAPSED_AFTER_MS - SHOW_AFTER_MS), SHOW_AFTER_MS);
  return () => clearTimeout(timer);
}
