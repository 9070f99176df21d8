/** Programs of the machine, one run each: a deadline, bounded output, coded errors, secrets only by standard input. */
import { execFile } from 'node:child_process';
import { failure } from './errors.ts';

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
/** Node's standard input is a socket, which nobody can open by a path; behind this it is a pipe. */
const PIPED = ['sh', '-c', 'cat | "$0" "$@"'];
const FORBIDDEN = /operation not permitted|permission denied|must be root/i;

/** The machine's own programs. */
export function createTools(options: ToolsOptions = {}): Tools {
  const attempt = (run: ToolRun): Promise<ToolResult> => start(run, options);
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

function start(run: ToolRun, options: ToolsOptions): Promise<ToolResult> {
  const { tool, namespace, input } = run;
  const program = tool === 'wireguard-go' ? (options.wireguardGo ?? tool) : tool;
  const command = run.secret ? [...PIPED, program, ...run.args] : [program, ...run.args];
  const [file = program, ...args] = namespace ? ['nsenter', `--net=${namespace}`, '--', ...command] : command;
  return new Promise((resolve, reject) => {
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
        if (error === null) {
          resolve({ ok: true, stdout, complaint: '' });
          return;
        }
        const missing = missingTool(error.code, file, stderr);
        if (missing !== undefined) {
          const from = PACKAGES[missing] ?? PACKAGES[tool] ?? missing;
          const message = `${missing} is not installed; Debian has it in the package ${from} (\`apt-get install ${from}\`)`;
          reject(failure('TUNNEL_TOOL_MISSING', message, { details: { tool: missing, package: from } }));
          return;
        }
        const said = stderr.trim().slice(0, 500);
        if (FORBIDDEN.test(said)) {
          const message = `this process may not change the machine's network (${tool}: ${run.secret ? 'refused' : said})`;
          reject(failure('TUNNEL_FORBIDDEN', message, { details: { tool } }));
          return;
        }
        const ended = error.killed ? `no end within ${DEADLINE_MS / 1000} s` : '';
        resolve({ ok: false, stdout, complaint: run.secret ? ended || 'refused' : said || ended });
      },
    );
    // A tool that ends without reading its input is told by its exit.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input ?? '');
  });
}

function missingTool(code: unknown, file: string, stderr: string): string | undefined {
  if (code === 'ENOENT') return file;
  return /^nsenter: failed to execute (\S+): No such file|^sh: \d+: (\S+): not found/m
    .exec(stderr)
    ?.slice(1)
    .find(Boolean);
}
