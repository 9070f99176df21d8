/**
 * Runs suites in one node:test call each, so that each ends with one summary.
 *   node scripts/test.mjs [unit] [architecture] [conformance] [e2e] [adversary] [lab]   [-- extra node flags]
 * `unit` shares no process between files: sockets and timers of one file must not reach the next.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SUITES = {
  unit: {
    files: ['packages/*/test/**/*.test.ts', 'gateway/test/**/*.test.ts', 'examples/*/test/**/*.test.ts'],
    concurrency: 2,
  },
  architecture: { files: ['test/*.test.ts'], concurrency: 2 },
  conformance: { files: ['test/conformance/*.test.ts'], concurrency: 1 },
  e2e: { files: ['test/e2e/*.test.ts'], concurrency: 2 },
  adversary: { files: ['test/adversary/*.test.ts'], concurrency: 2 },
  lab: { files: ['test/lab/*.test.ts'], concurrency: 1 },
};

const separator = process.argv.indexOf('--');
const names = process.argv.slice(2, separator === -1 ? undefined : separator);
const extra = separator === -1 ? [] : process.argv.slice(separator + 1);
const unknown = names.filter((name) => !(name in SUITES));
if (names.length === 0 || unknown.length > 0) {
  process.stderr.write(
    `✗ unknown suite: ${unknown.join(', ') || '(none)'}\n  Next   one or more of ${Object.keys(SUITES).join(', ')}\n`,
  );
  process.exit(2);
}

/** Milliseconds a file may take; the long form has ten minutes of chaos. */
const timeoutMs = process.env.MOAT_TEST === 'full' ? 1_200_000 : 300_000;
/** Compiled code of all processes that the tests start, ours and Node's: a quarter of their processor time. */
const compiled = fileURLToPath(new URL('../node_modules/.cache/compiled', import.meta.url));
let failed = false;
for (const name of names) {
  const suite = SUITES[name];
  const files = suite.files.flatMap((pattern) => globSync(pattern)).sort();
  if (files.length === 0) {
    process.stderr.write(`${name}: no tests\n`);
    continue;
  }
  process.stderr.write(`\n── ${name}: ${files.length} files\n`);
  const run = spawnSync(
    process.execPath,
    [
      '--conditions=@moat/source',
      '--test',
      '--test-reporter=spec',
      `--test-concurrency=${suite.concurrency}`,
      `--test-timeout=${timeoutMs}`,
      ...extra,
      ...files,
    ],
    { stdio: ['ignore', 'inherit', 'inherit'], env: { NODE_COMPILE_CACHE: compiled, ...process.env } },
  );
  failed ||= run.status !== 0;
}
process.exit(failed ? 1 : 0);
