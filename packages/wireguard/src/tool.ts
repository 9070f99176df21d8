/** Programs of the machine, one run each: a deadline, bounded output, coded errors, secrets only by standard input. */
import { execFile } from 'node:child_process';
import { failure } from './errors.ts';
import { ToolShell, type ShellResult } from './tool-shell.ts';

/** One run. */
export interface ToolRun {
  readonly tool: 'wg' | 'ip' | 'nft' | 'sysctl' | 'wireguard-go';
  /** Visible to every user of the machine: never a secret. */
  readonly args: readonly string[];
  readonly input?: string;
  /** Path of the network namespace to run it in; null or absent = ours. */
  readonly namespace?: string | null;
  /** The input is a secret: the tool opens it as `/dev/stdin`, and what it complains of is not passed on. */
  readonly secret?: boolean;
}

/** How a run ended. */
export interface ToolResult {
  readonly ok: boolean;
  readonly stdout: string;
  /** The tool's complaint, at most 500 characters. */
  readonly complaint: string;
}

/** Runs programs that end; two files start one that stays, and say why. */
export interface Tools {
  /** @throws `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN`; any other failure is in the result. */
  try(run: ToolRun): Promise<ToolResult>;
  /** What it printed. @throws `TUNNEL_FAILED`, `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN` */
  run(run: ToolRun): Promise<string>;
}

export interface ToolsOptions {
  /** Name or path of wireguard-go. @defaultValue `wireguard-go` on the PATH */
  readonly wireguardGo?: string;
}

/** Of one run; a machine under heavy load still answers in a fraction of it. */
const DEADLINE_MS = 15_000;
/** One that takes longer, on an interface whose program hangs for one, holds up nobody else. */
const SLOW_MS = 1_000;
/** Of one run: ten thousand peers print less. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const PACKAGES: Record<string, string> = {
  wg: 'wireguard-tools',
  ip: 'iproute2',
  nft: 'nftables',
  sysctl: 'procps',
  nsenter: 'util-linux',
  'wireguard-go': 'wireguard-go',
};
/** As shells say it of a program that is not there. */
const NOT_FOUND = 127;
/** Node's standard input is a socket, which nobody can open by a path; behind this it is a pipe. */
const PIPED = ['sh', '-c', 'cat | "$0" "$@"'];
const FORBIDDEN = /operation not permitted|permission denied|must be root/i;

/** The machine's own programs. */
export function createTools(options: ToolsOptions = {}): Tools {
  const shell = new ToolShell({ deadlineMs: DEADLINE_MS, slowMs: SLOW_MS, maxOutputBytes: MAX_OUTPUT_BYTES });
  const attempt = (run: ToolRun): Promise<ToolResult> => start(run, shell, options);
  return {
    try: attempt,
    async run(run) {
      const result = await attempt(run);
      if (!result.ok) throw toolFailure(run, result);
      return result.stdout;
    },
  };
}

/** What a run that failed says to people. */
export function toolFailure(run: ToolRun, result: ToolResult): Error {
  const what = [run.tool, ...run.args].join(' ').slice(0, 200);
  return failure('TUNNEL_FAILED', `\`${what}\` failed: ${result.complaint || 'without a word'}`, { retryable: true });
}

async function start(run: ToolRun, shell: ToolShell, options: ToolsOptions): Promise<ToolResult> {
  const { tool, namespace, input = '' } = run;
  const program = tool === 'wireguard-go' ? (options.wireguardGo ?? tool) : tool;
  const command = run.secret ? [...PIPED, program, ...run.args] : [program, ...run.args];
  const [file = program, ...args] = namespace ? ['nsenter', `--net=${namespace}`, '--', ...command] : command;
  // A secret passes through no shell that stays, and what stays itself is started by nobody who waits for it.
  const isOwn = run.secret === true || tool === 'wireguard-go';
  const { code, stdout, stderr, isLate } = await (isOwn
    ? startOwn(file, args, input)
    : shell.run([file, ...args], input));
  if (code === 0) return { ok: true, stdout, complaint: '' };
  const missing = missingTool(code, file, stderr);
  if (missing !== undefined) {
    const from = PACKAGES[missing] ?? PACKAGES[tool] ?? missing;
    const message = `${missing} is not installed; Debian has it in the package ${from} (\`apt-get install ${from}\`)`;
    throw failure('TUNNEL_TOOL_MISSING', message, { details: { tool: missing, package: from } });
  }
  const said = stderr.trim().slice(0, 500);
  if (FORBIDDEN.test(said)) {
    const message = `this process may not change the machine's network (${tool}: ${run.secret ? 'refused' : said})`;
    throw failure('TUNNEL_FORBIDDEN', message, { details: { tool } });
  }
  const ended = isLate ? `no end within ${DEADLINE_MS / 1000} s` : '';
  return { ok: false, stdout, complaint: run.secret ? ended || 'refused' : said || ended };
}

function startOwn(file: string, args: readonly string[], input: string): Promise<ShellResult> {
  return new Promise((resolve) => {
    const child = execFile(
      file,
      args,
      // Tools speak English to us, and get nothing else of our environment: it may hold secrets.
      {
        env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
        timeout: DEADLINE_MS,
        killSignal: 'SIGKILL',
        maxBuffer: MAX_OUTPUT_BYTES,
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : error.code === 'ENOENT' ? NOT_FOUND : Number(error.code ?? 1);
        resolve({ code, stdout, stderr, isLate: error?.killed === true });
      },
    );
    // A tool that ends without reading its input is told by its exit.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}

function missingTool(code: number | null, file: string, stderr: string): string | undefined {
  const inside = /^nsenter: failed to execute (\S+): No such file|^sh: \d+: (\S+): not found/m
    .exec(stderr)
    ?.slice(1)
    .find(Boolean);
  return inside ?? (code === NOT_FOUND ? file : undefined);
}
