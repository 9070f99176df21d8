/**
 * The moat command. Everything it does is reached by {@link runCommand}; `bin/moat.cjs` and `main.ts` are its process.
 *
 * @example
 * ```ts
 * import { runCommand } from '@moat/cli';
 * const { stdin, stdout, stderr, env } = process;
 * const signal = new AbortController().signal;
 * const exitCode = await runCommand(['status', '--json'], { stdin, stdout, stderr, env, cwd: process.cwd(), signal, now: Date.now }, '0.1.0');
 * ```
 * @packageDocumentation
 */
export { CLI_ERROR_CODES, type CliErrorCode } from './errors.ts';
export { EXIT, exitCodeOf } from './exit-codes.ts';
export { Interrupted, type Io } from './io.ts';
export { runCommand } from './program.ts';
