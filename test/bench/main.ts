/**
 * Moat beside what else one could use, in one interleaved run: `npm run bench [-- --quick] [--json] [--only NAME]`.
 * Ends with 0 when everything that could run did, 1 when a subject failed, 2 for a wrong command line, 130 when interrupted.
 */
import { parseArgs } from 'node:util';
import { runBench } from './bench.ts';
import { jsonReport, tableReport, writeReport } from './report.ts';
import { scenarios } from './scenarios.ts';

const USAGE = `usage: npm run bench [-- OPTIONS]
  --quick          few scenarios, 2 rounds of 2 s, instead of all in 5 rounds of 4 s
  --only NAME      scenarios whose name has NAME in it, such as e2e/https1/1k/c64; may be repeated
  --subject NAME   only these subjects; may be repeated
  --awake          keeps cores from falling asleep, which shows in latencies at one connection
  --json           one JSON object on stdout instead of the table
  --out DIR        also a chart a scenario, as SVG, and bench.json
  --list           names of the scenarios, and no run
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) return 2;
  const named = scenarios.filter(
    ({ name }) => options.only.length === 0 || options.only.some((part) => name.includes(part)),
  );
  const quick = named.filter((scenario) => scenario.quick);
  // Who names one that is not among the quick ones wants it nevertheless.
  const chosen = options.quick && quick.length > 0 ? quick : named;
  if (options.list) {
    process.stdout.write(chosen.map(({ name }) => `${name}\n`).join(''));
    return 0;
  }
  if (chosen.length === 0) {
    process.stderr.write(`bench: no scenario has ${options.only.join(', ')} in its name\n${USAGE}`);
    return 2;
  }
  return run(chosen, options);
}

interface Options {
  readonly quick: boolean;
  readonly only: readonly string[];
  readonly subject: readonly string[];
  readonly awake: boolean;
  readonly json: boolean;
  readonly out: string | undefined;
  readonly list: boolean;
}

function readOptions(): Options | undefined {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        subject: { type: 'string', multiple: true, default: [] },
        awake: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        out: { type: 'string' },
        list: { type: 'boolean', default: false },
      },
    });
    return { ...values, out: values.out };
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    return undefined;
  }
}

async function run(chosen: typeof scenarios, options: Options): Promise<number> {
  const controller = new AbortController();
  let interrupted = false;
  const stop = (): void => {
    interrupted = true;
    controller.abort(new Error('interrupted'));
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop);
  // Whatever goes wrong, namespaces and processes are not left behind.
  process.on('uncaughtException', (error) => {
    process.stderr.write(`bench: ${error.stack ?? error.message}\n`);
    controller.abort(error);
  });
  try {
    const report = await runBench(chosen, {
      rounds: options.quick ? 2 : 5,
      seconds: options.quick ? 2 : 4,
      warmUpSeconds: options.quick ? 0.5 : 1,
      firstSeconds: options.quick ? 3 : 5,
      patienceSeconds: options.quick ? 20 : 900,
      ...(options.subject.length > 0 ? { subjects: options.subject } : {}),
      awake: options.awake,
      signal: controller.signal,
      say: (line) => process.stderr.write(`bench: ${line}\n`),
    });
    process.stdout.write(options.json ? `${jsonReport(report)}\n` : tableReport(report));
    if (options.out !== undefined) await writeReport(report, options.out);
    return report.broken.length > 0 || report.scenarios.some(({ failed }) => failed.size > 0) ? 1 : 0;
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    process.stderr.write(`bench: ${String(error)}; everything it started has ended\n`);
    return interrupted ? 130 : 1;
  }
}
