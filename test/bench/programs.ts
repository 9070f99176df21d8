/** Programs the harness starts, each ended by its own id. */
import { execFile, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Daemon, eventually } from '../e2e/machine.ts';

/** Where Debian keeps servers, which a user's PATH may lack. */
const PATH = [process.env['PATH'] ?? '', '/usr/sbin', '/sbin'].join(delimiter);

export interface ProgramOptions {
  /** Network namespace it runs in. */
  readonly namespace?: string | undefined;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Milliseconds between SIGTERM and SIGKILL. */
const GRACE_MS = 3_000;

export class Programs implements AsyncDisposable {
  readonly #running: Daemon[] = [];

  /** Starts a program that stays in the foreground. */
  start(file: string, args: readonly string[], options: ProgramOptions = {}): Daemon {
    const [program = file, ...rest] = inNamespace([file, ...args], options.namespace);
    const child = spawn(program, rest, {
      cwd: options.cwd,
      env: environment(options),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // A program that is not there says so as an event; whoever waits for it sees that it does not run.
    child.on('error', () => undefined);
    const daemon = new Daemon(child);
    this.#running.push(daemon);
    return daemon;
  }

  /** Ends them one after the other, so that a client can say goodbye to its server. */
  async stop(daemons: readonly Daemon[]): Promise<void> {
    for (const daemon of daemons) await stop(daemon);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.splice(0).map(stop));
  }
}

async function stop(daemon: Daemon): Promise<void> {
  if (daemon.child.pid === undefined) return;
  const timer = setTimeout(() => void daemon.kill('SIGKILL'), GRACE_MS);
  await daemon.kill('SIGTERM');
  clearTimeout(timer);
}

/** Runs a short command and answers its stdout. */
export async function runTool(
  file: string,
  args: readonly string[],
  options: ProgramOptions & { readonly input?: string } = {},
): Promise<string> {
  const [program = file, ...rest] = inNamespace([file, ...args], options.namespace);
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      rest,
      { cwd: options.cwd, env: environment(options), maxBuffer: 1 << 24, timeout: 30_000 },
      (error, stdout, stderr) =>
        error ? reject(new Error(`${file} ${args.join(' ')}: ${stderr || error.message}`)) : resolve(stdout),
    );
    // It may end without having read anything; its exit code is what counts.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input ?? '');
  });
}

/** Waits until `ready`; fails at once, with what it said, when the program ends before. */
export async function whenReady(
  what: string,
  daemon: Daemon,
  ready: () => Promise<boolean>,
  timeoutMs = 20_000,
): Promise<void> {
  await eventually(
    what,
    async () => (!daemon.running || daemon.child.pid === undefined ? 'ended' : ready()),
    timeoutMs,
  );
  if (!daemon.running || daemon.child.pid === undefined) throw new Error(`${what}: it ended\n${daemon.output}`);
}

/** Why a subject that needs these programs cannot run. */
export function missingPrograms(...names: readonly string[]): string | undefined {
  const missing = names.filter((name) => !isInstalled(name));
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`;
}

function isInstalled(name: string): boolean {
  return PATH.split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function inNamespace(command: readonly string[], namespace: string | undefined): readonly string[] {
  return namespace === undefined ? command : ['ip', 'netns', 'exec', namespace, ...command];
}

function environment(options: ProgramOptions): NodeJS.ProcessEnv {
  return { ...process.env, PATH, ...options.env };
}
