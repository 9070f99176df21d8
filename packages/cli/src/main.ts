/** The process of the `moat` command: arguments, signals, exit code. */
import { readFileSync } from 'node:fs';
import { Interrupted } from './io.ts';
import { keepCompiledCode } from './process/compile-cache.ts';
import { watchParent } from './process/parent.ts';

keepCompiledCode(process.env);
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
const stop = new AbortController();

for (const signalName of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signalName, () => {
    // Once = orderly, twice = now.
    if (stop.signal.aborted) process.exit(signalName === 'SIGINT' ? 130 : 143);
    stop.abort(new Interrupted(signalName));
  });
}
watchParent(process.env, () => stop.abort(new Interrupted('SIGTERM')));
// A reader such as `head` may leave early.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

// Loaded here and not above, so that it comes from the cache.
const { runCommand } = await import('./program.ts');
process.exitCode = await runCommand(
  process.argv.slice(2),
  {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    signal: stop.signal,
    now: () => Date.now(),
  },
  manifest.version,
);
// Whatever a library left open must not keep a command that is done.
setTimeout(() => process.exit(), 100).unref();
