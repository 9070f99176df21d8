/**
 * Machines for end-to-end tests: each has a home of its own and runs the real `moat` command and its processes.
 * Nothing here waits by the clock: a process says when it is ready, a condition is asked until it holds or its deadline passes.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createAgentClient } from '@moat/admin-api';

/** MOAT_E2E_BUILT=1 runs what is published, the build, instead of the sources. */
const built = process.env['MOAT_E2E_BUILT'] === '1';
const MAIN = fileURLToPath(new URL(`../../packages/cli/${built ? 'dist/main.js' : 'src/main.ts'}`, import.meta.url));
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', ...(built ? [] : ['--conditions=@moat/source'])];

let compiled: string | undefined;
/**
 * Where processes of all machines keep compiled code, until this process ends. A home of its own would have each compile
 * everything once more, and sources have their types taken out by a program that takes longer to load than a command.
 */
function compiledCode(): string {
  if (compiled !== undefined) return compiled;
  const directory = mkdtempSync(join(tmpdir(), 'moat-compiled-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 3 }));
  return (compiled = directory);
}

/** Milliseconds a process has to become ready; on a machine that has other work to do it takes its time. */
export const READY_MS = 60_000;

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** `data` of the JSON object on stdout, or `error` of a refusal. */
  readonly json: Record<string, unknown>;
}

/** The long forms (1 GiB, full counts) run with MOAT_TEST=full. */
export const full: boolean = process.env['MOAT_TEST'] === 'full';

/**
 * Milliseconds within which something must have happened that is promised within `ms`. The long form holds the product to its
 * promise; where other tests run beside it, a machine gets five times as much.
 */
export const within = (ms: number): number => (full ? ms : 5 * ms);

/** Asks `condition` every 20 ms until it answers something; fails with `what` after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  condition: () => Promise<T | undefined | false>,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`, { cause: last });
    await delay(20);
  }
}

/** A running process of the product, stopped with the machine. */
export class Daemon {
  readonly child: ChildProcess;
  /** What it said last, in pieces; the oldest are dropped. */
  readonly #said: string[] = [];

  constructor(child: ChildProcess) {
    this.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        if (this.#said.push(text) > 2_000) this.#said.splice(0, 1_000);
      });
    }
  }

  get output(): string {
    return this.#said.join('');
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Resident memory in bytes. */
  async residentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (!this.running) return;
    const exit = once(this.child, 'exit');
    this.child.kill(signal);
    await exit;
  }
}

export interface MachineOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Network namespace its processes run in. */
  readonly namespace?: string | undefined;
  /** Command in front of its long-running processes, such as `nsenter …`. */
  readonly within?: readonly string[];
}

/** One machine: a home, commands, an agent. MOAT_E2E_LOGS=<folder> keeps what its processes said. */
export class Machine implements AsyncDisposable {
  readonly name: string;
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  readonly #namespace: string | undefined;
  readonly #within: readonly string[];
  #daemons: Daemon[] = [];

  private constructor(name: string, home: string, env: NodeJS.ProcessEnv, options: MachineOptions) {
    this.name = name;
    this.home = home;
    this.env = env;
    this.#namespace = options.namespace;
    this.#within = options.within ?? [];
  }

  static async create(name: string, options: MachineOptions = {}): Promise<Machine> {
    const home = await mkdtemp(join(tmpdir(), `moat-${name}-`));
    const env: NodeJS.ProcessEnv = {
      NODE_COMPILE_CACHE: compiledCode(),
      ...process.env,
      HOME: home,
      MOAT_HOME: join(home, 'state'),
      NO_COLOR: '1',
      ...options.env,
    };
    delete env['NODE_OPTIONS'];
    delete env['XDG_CONFIG_HOME'];
    delete env['XDG_STATE_HOME'];
    return new Machine(name, home, env, options);
  }

  path(...parts: string[]): string {
    return join(this.home, ...parts);
  }

  async write(file: string, text: string): Promise<string> {
    const path = this.path(file);
    await writeFile(path, text, { mode: 0o600 });
    return path;
  }

  /** Runs `moat …args --json` in this home and returns what it said; never throws for an exit code. */
  async run(args: readonly string[], input = ''): Promise<CommandResult> {
    const child = spawn(process.execPath, [...NODE_FLAGS, MAIN, ...args, '--json'], { cwd: this.home, env: this.env });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdin.end(input);
    const [exitCode] = (await once(child, 'close')) as [number | null];
    return { exitCode: exitCode ?? -1, stdout, stderr, json: parseOutput(stdout) ?? parseOutput(stderr) ?? {} };
  }

  /** Like {@link run}, and fails unless the command succeeded. */
  async ok(args: readonly string[], input = ''): Promise<CommandResult> {
    const result = await this.run(args, input);
    if (result.exitCode !== 0) {
      throw new Error(
        `${this.name}: moat ${args.join(' ')} exited ${result.exitCode}\n${result.stdout}\n${result.stderr}`,
      );
    }
    return result;
  }

  /** Starts a long-running `moat` command. */
  spawn(args: readonly string[]): Daemon {
    return this.program(process.execPath, [...NODE_FLAGS, MAIN, ...args]);
  }

  /** Starts any program in this home, and namespace. */
  program(file: string, args: readonly string[]): Daemon {
    const netns = this.#namespace === undefined ? [] : ['ip', 'netns', 'exec', this.#namespace];
    const inside = [...netns, ...this.#within];
    const [program = file, ...rest] = [...inside, file, ...args];
    const child = spawn(program, rest, {
      cwd: this.home,
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const daemon = new Daemon(child);
    this.#daemons.push(daemon);
    return daemon;
  }

  /** Starts the agent and waits until its local API answers. */
  async startAgent(args: readonly string[] = []): Promise<Daemon> {
    const daemon = this.spawnAgent(args);
    await this.agentReady(daemon);
    return daemon;
  }

  spawnAgent(args: readonly string[] = []): Daemon {
    return this.spawn(['node', 'run', '--log-level', process.env['MOAT_E2E_LOGS'] ? 'debug' : 'info', ...args]);
  }

  async agentReady(daemon: Daemon): Promise<void> {
    await eventually(
      `${this.name}: agent ready`,
      async () => {
        if (!daemon.running) throw new Error(`agent of ${this.name} exited:\n${daemon.output}`);
        // asked at its socket: a command for each look costs more than the start itself
        return createAgentClient({ socketPath: this.path('state', 'agent.sock') }).status();
      },
      READY_MS,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#daemons.toReversed().map(async (daemon) => {
        const timer = setTimeout(() => void daemon.kill('SIGKILL'), 5_000);
        await daemon.kill('SIGTERM');
        clearTimeout(timer);
      }),
    );
    const logs = process.env['MOAT_E2E_LOGS'];
    if (logs) {
      await mkdir(logs, { recursive: true });
      await Promise.all(
        this.#daemons.map((daemon, i) => writeFile(join(logs, `${this.name}-${i}.log`), daemon.output)),
      );
    }
    await rm(this.home, { recursive: true, force: true });
  }
}

/** The JSON object a command printed: on one line, or as the whole output. */
function parseOutput(text: string): Record<string, unknown> | undefined {
  for (const candidate of [text, ...text.trim().split('\n').toReversed()]) {
    try {
      const value = JSON.parse(candidate) as Record<string, unknown>;
      return (value['data'] ?? value['error'] ?? value) as Record<string, unknown>;
    } catch {
      continue;
    }
  }
  return undefined;
}
