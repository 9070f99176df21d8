/** Runs commands inside the test's process, with a home of their own and captured output. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { Interrupted, runCommand } from '../../src/index.ts';

export interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** `data` on stdout. */
  readonly data: Record<string, unknown>;
  /** `kind` on stdout. */
  readonly kind: string;
  /** `error` on stderr. */
  readonly error: { readonly code: string; readonly message: string; readonly next: readonly string[] };
}

export interface RunOptions {
  readonly stdin?: string;
  /** Nobody types, and nobody closes it. @defaultValue false */
  readonly openStdin?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Milliseconds since 1970. @defaultValue the system's */
  readonly now?: number;
  /** Called with stdout as it grows. */
  readonly onStdout?: (text: string) => void;
}

/** A home directory and a working directory, removed with it. */
export class Terminal implements Disposable {
  readonly root: string = mkdtempSync(join(tmpdir(), 'moat-cli-'));
  readonly home: string = join(this.root, 'home');

  path(...parts: string[]): string {
    return join(this.root, ...parts);
  }

  async run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const stdout = capture(options.onStdout);
    const stderr = capture();
    const exitCode = await runCommand(
      args,
      {
        stdin:
          options.openStdin === true
            ? new PassThrough()
            : Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]),
        stdout: stdout.stream,
        stderr: stderr.stream,
        env: { HOME: this.root, MOAT_HOME: this.home, NO_COLOR: '1', PATH: process.env['PATH'], ...options.env },
        cwd: this.root,
        signal: options.signal ?? new AbortController().signal,
        now: () => options.now ?? Date.now(),
      },
      '0.0.0-test',
    );
    const answer = parse(stdout.text());
    const failure = parse(stderr.text().trim().split('\n').at(-1) ?? '');
    return {
      exitCode,
      stdout: stdout.text(),
      stderr: stderr.text(),
      data: (answer['data'] ?? {}) as Record<string, unknown>,
      kind: String(answer['kind']),
      error: (failure['error'] ?? { code: '', message: '', next: [] }) as Ran['error'],
    };
  }

  /** {@link run} with `--json`. */
  json(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return this.run([...args, '--json'], options);
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** A Ctrl-C to come. */
export function interruption(): { readonly signal: AbortSignal; press(): void } {
  const controller = new AbortController();
  return { signal: controller.signal, press: () => controller.abort(new Interrupted('SIGINT')) };
}

function capture(onText?: (text: string) => void): { readonly stream: PassThrough; text(): string } {
  const chunks: string[] = [];
  const stream = new PassThrough();
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    chunks.push(chunk);
    onText?.(chunks.join(''));
  });
  return { stream, text: () => chunks.join('') + ((stream.read() as string | null) ?? '') };
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
