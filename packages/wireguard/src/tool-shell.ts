/**
 * A shell that starts the machine's programs for us: a fork of the agent copies the tables of all its memory, ten
 * milliseconds in which its loop stands still, and one of a small shell costs it nothing. It ends with this process.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';

/** How a run ended. */
export interface ShellResult {
  /** As the program said; null when it was killed, or the shell was. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Its deadline was over. */
  readonly isLate: boolean;
}

export interface ToolShellOptions {
  /** Milliseconds a run may take. */
  readonly deadlineMs: number;
  /** Milliseconds after which others wait for a run no longer. */
  readonly slowMs: number;
  /** Of a run; one that prints more is ended. */
  readonly maxOutputBytes: number;
}

interface Shell {
  readonly child: ChildProcess;
  /** Ends what a run printed. */
  readonly mark: string;
}

/**
 * One run at a time; one that is slow goes on in its shell, which ends with it, and the next ones have another. Those that
 * wait are as many as callers that wait for them. Bound: as many shells as a deadline has `slowMs`.
 */
export class ToolShell {
  readonly #options: ToolShellOptions;
  #shell: Shell | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ToolShellOptions) {
    this.#options = options;
  }

  /** Runs a program. Its arguments are seen by every user of the machine, its input by nobody; neither has a NUL. Never rejects. */
  run(command: readonly string[], input: string): Promise<ShellResult> {
    const { promise: turnIsOver, resolve: endTurn } = Promise.withResolvers<void>();
    const run = this.#last.then(() => this.#run(command, input, endTurn));
    this.#last = turnIsOver;
    return run.finally(endTurn);
  }

  #forget(child: ChildProcess): void {
    if (this.#shell?.child === child) this.#shell = undefined;
  }

  #run(command: readonly string[], input: string, onSlow: () => void): Promise<ShellResult> {
    const { deadlineMs, slowMs, maxOutputBytes } = this.#options;
    let shell: Shell;
    try {
      shell = this.#shell ??= startShell((ended) => this.#forget(ended));
    } catch (error) {
      return Promise.resolve({ code: null, stdout: '', stderr: String(error), isLate: false });
    }
    const { child, mark } = shell;
    const { stdin, stdout, stderr } = child;
    const said = { stdout: '', stderr: '' };
    return new Promise((resolve) => {
      const end = (result: Pick<ShellResult, 'code' | 'isLate'>): void => {
        clearTimeout(timer);
        clearTimeout(slow);
        child.off('error', gone).off('exit', gone);
        stdout?.off('data', onOut);
        stderr?.off('data', onErr);
        hold(child, false);
        if (this.#shell?.child !== child) endGroup(child);
        resolve({ ...result, stdout: beforeMark(said.stdout, mark), stderr: beforeMark(said.stderr, mark) });
      };
      /** Whatever it started goes with it. */
      const abandon = (isLate: boolean): void => {
        this.#forget(child);
        end({ code: null, isLate });
      };
      const gone = (): void => abandon(false);
      const hear = (which: 'stdout' | 'stderr', text: string): void => {
        said[which] += text;
        if (said.stdout.length + said.stderr.length > maxOutputBytes) return abandon(false);
        if (!text.endsWith('\n') || !isWhole(said.stdout, mark) || !isWhole(said.stderr, mark)) return;
        end({ code: Number(said.stdout.slice(said.stdout.lastIndexOf(mark) + mark.length)), isLate: false });
      };
      const onOut = (text: string): void => hear('stdout', text);
      const onErr = (text: string): void => hear('stderr', text);
      const timer = setTimeout(() => abandon(true), deadlineMs);
      const slow = setTimeout(() => {
        this.#forget(child);
        onSlow();
      }, slowMs);
      child.once('error', gone).once('exit', gone);
      stdout?.on('data', onOut);
      stderr?.on('data', onErr);
      hold(child, true);
      stdin?.write(scriptOf(command, input, mark));
    });
  }
}

/**
 * The mark: a record separator, which no tool prints, and what nobody can guess.
 * @param onExit told however it ends, also between two runs
 * @throws what `spawn` does, where no process can be made
 */
function startShell(onExit: (child: ChildProcess) => void): Shell {
  const child: ChildProcess = spawn('/bin/sh', ['-s'], {
    argv0: 'sh',
    // Tools speak English to us, and get nothing else of our environment: it may hold secrets.
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    stdio: 'pipe',
    // A group of its own: what hangs is ended with it.
    detached: true,
  });
  // First: where no file can be opened it has no streams, and says why by this alone.
  child.on('error', () => undefined);
  child.once('exit', () => onExit(child));
  child.stdin?.on('error', () => undefined);
  child.stdout?.setEncoding('utf8');
  child.stderr?.setEncoding('utf8');
  return { child, mark: `\u001e${randomBytes(12).toString('hex')} ` };
}

function scriptOf(command: readonly string[], input: string, mark: string): string {
  const words = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const told = `printf '%s%s\\n' '${mark}' $?; printf '%s\\n' '${mark}' >&2`;
  if (input === '') return `${words} </dev/null; ${told}\n`;
  const last = mark.trim().slice(1);
  return `${words} <<'${last}'; ${told}\n${input}${input.endsWith('\n') ? '' : '\n'}${last}\n`;
}

function isWhole(said: string, mark: string): boolean {
  return said.endsWith('\n') && said.lastIndexOf(mark) >= 0;
}

function beforeMark(said: string, mark: string): string {
  const at = said.lastIndexOf(mark);
  return at < 0 ? said : said.slice(0, at);
}

/** A shell that rests keeps no process alive. */
function hold(child: ChildProcess, isBusy: boolean): void {
  for (const each of [child, child.stdin, child.stdout, child.stderr]) {
    const it = each as { ref?: () => void; unref?: () => void } | null;
    if (isBusy) it?.ref?.();
    else it?.unref?.();
  }
}

function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}
