/**
 * The whole path in figures: joining, publishing, requests through gateway and link beside nginx without a tunnel, idle memory.
 *   npm run bench:path [-- --quick] [-- --json]
 * Both subjects serve the same nginx, on the same machine, in interleaved rounds; medians, and ratios paired round by round.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { cpus, totalmem } from 'node:os';
import { performance } from 'node:perf_hooks';
import { eventually, freePort } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import { load, median, quantile, type LoadResult, type Target } from './load.ts';
import { startNginx } from './nginx.ts';

interface Row {
  readonly scenario: string;
  readonly subject: string;
  readonly metric: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Moat's value divided by this subject's, paired round by round; absent on Moat's own rows. */
  readonly moatRatio?: number;
}

const quick = process.argv.includes('--quick');
const ROUNDS = quick ? 2 : 5;
const SECONDS = quick ? 2 : 4;
const JOINS = quick ? 5 : 25;
const CONNECTIONS = [1, 64];
const rows: Row[] = [];

await using world = new World();
progress('starting a gateway, an owner and a service node');
const servicePort = await freePort();
const proxyPort = await freePort();
await world.startGateway();
const dir = world.gateway.machine.home;
const [certFile, keyFile] = [`${dir}/bench.crt`, `${dir}/bench.key`];
execFileSync(
  'openssl',
  [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=bench.localhost',
    '-keyout',
    keyFile,
    '-out',
    certFile,
  ],
  { stdio: 'ignore' },
);
await using nginx = await startNginx({ dir, servicePort, proxyPort, certFile, keyFile });
const places = Object.fromEntries(Array.from({ length: JOINS }, (_, i) => [`guest-${i}`, {}]));
const spec = {
  name: 'bench',
  members: { owner: { keeper: true }, web: { expose: [`${servicePort},public`] } },
  services: { web: { on: ['web'], port: 80, target: `127.0.0.1:${servicePort}`, protocol: 'http' } },
  access: [{ from: Object.keys(places), to: ['web'] }],
};
await world.grow({ ...spec, access: [] });

await benchPublish();
await benchMemory();
await benchRequests();
await benchJoin();
report();

/** From the owner's signature to the first 200 that the public sees. */
async function benchPublish(): Promise<void> {
  const values: number[] = [];
  for (let i = 0; i < (quick ? 3 : 10); i++) {
    progress(`publish ${i + 1}`);
    await world.writeFile({ publish: { [`try-${i}`]: 'web' } });
    const applied = world.machine('owner').ok(['apply', '--yes']);
    const started = await versionAccepted(i);
    await eventually('published', async () => (await world.gateway.browser.fetch(`try-${i}.localhost`)).status === 200);
    values.push(performance.now() - started);
    await applied;
  }
  add('publish/first-200', 'moat', 'ms', values);
}

/** When the owner's agent has accepted the version that publishes `try-<i>`. */
async function versionAccepted(i: number): Promise<number> {
  await eventually('version accepted', async () =>
    JSON.stringify((await world.client('owner').deployment('bench')).contract).includes(`"try-${i}"`),
  );
  return performance.now();
}

async function benchMemory(): Promise<void> {
  progress('idle memory');
  add('idle', 'moat node', 'rssMiB', [(await world.agent('web').residentBytes()) / (1 << 20)]);
  add('idle', 'moat gateway', 'rssMiB', [(await world.gateway.daemon.residentBytes()) / (1 << 20)]);
}

async function benchRequests(): Promise<void> {
  await world.apply({ publish: { bench: 'web' } });
  await eventually(
    'bench is public',
    async () => (await world.gateway.browser.fetch('bench.localhost')).status === 200,
  );
  const moat: Target = {
    subject: 'moat',
    url: 'https://bench.localhost/',
    connectTo: `127.0.0.1:${world.gateway.port}`,
    pids: [world.gateway.daemon.pid, world.agent('web').pid],
  };
  const direct: Target = {
    subject: 'nginx',
    url: 'https://bench.localhost/',
    connectTo: `127.0.0.1:${proxyPort}`,
    pids: [nginx.proxyPid],
  };
  for (const connections of CONNECTIONS) {
    const results = new Map<string, LoadResult[]>([
      ['moat', []],
      ['nginx', []],
    ]);
    for (const target of [moat, direct]) await load(target, connections, 1);
    for (let round = 0; round < ROUNDS; round++) {
      for (const target of round % 2 === 0 ? [moat, direct] : [direct, moat]) {
        progress(`https 1 KiB, ${connections} connections, round ${round + 1} of ${ROUNDS}: ${target.subject}`);
        results.get(target.subject)?.push(await load(target, connections, SECONDS));
      }
    }
    const ours = results.get('moat') ?? [];
    for (const [subject, values] of results) {
      for (const [metric, of] of [
        ['rps', (result: LoadResult) => result.requestsPerSecond],
        ['cpuUsPerRequest', (result: LoadResult) => result.cpuMicrosPerRequest],
      ] as const) {
        const ratio =
          subject === 'moat' ? undefined : median(values.map((value, i) => of(ours[i] ?? value) / of(value)));
        add(`e2e/https1/1k/c${connections}`, subject, metric, values.map(of), ratio);
      }
    }
  }
  add('after load', 'moat node', 'rssMiB', [(await world.agent('web').residentBytes()) / (1 << 20)]);
  add('after load', 'moat gateway', 'rssMiB', [(await world.gateway.daemon.residentBytes()) / (1 << 20)]);
}

/** From a token in hand, on a machine whose agent runs, to the first answer of a service elsewhere. */
async function benchJoin(): Promise<void> {
  await world.apply({ members: { ...spec.members, ...places }, access: spec.access });
  const values: number[] = [];
  for (const name of Object.keys(places)) {
    progress(`join ${name}`);
    const token = await world.invite(name);
    const machine = await world.addMachine(name);
    const started = performance.now();
    await world.client(name).join({ token });
    const address = await eventually('web is listed', () => world.serviceAddress(name, 'web'));
    await eventually('web answers', () => firstAnswer(address));
    values.push(performance.now() - started);
    await machine[Symbol.asyncDispose]();
  }
  add('join/first-request', 'moat', 'ms', values);
  add('join/first-request', 'moat', 'p95Ms', [quantile(values, 0.95)]);
}

async function firstAnswer(address: { host: string; port: number }): Promise<boolean> {
  const socket = connect(address.port, address.host);
  try {
    await once(socket, 'connect');
    socket.write('GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n');
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    return chunk.toString('latin1').startsWith('HTTP/1.1 200');
  } finally {
    socket.destroy();
  }
}

function add(scenario: string, subject: string, metric: string, values: readonly number[], moatRatio?: number): void {
  rows.push({
    scenario,
    subject,
    metric,
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    ...(moatRatio === undefined ? {} : { moatRatio }),
  });
}

function report(): void {
  if (process.argv.includes('--json')) {
    process.stdout.write(`${JSON.stringify({ kind: 'bench', version: 1, rows })}\n`);
    return;
  }
  const cpu = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
  process.stdout.write(
    `\n${cpu}\n\n| scenario | subject | metric | median | min – max | moat ÷ subject |\n|---|---|---|---|---|---|\n`,
  );
  for (const row of rows) {
    const [middle, min, max] = [row.median, row.min, row.max].map((value) =>
      value >= 100 ? value.toFixed(0) : value.toFixed(1),
    );
    process.stdout.write(
      `| ${row.scenario} | ${row.subject} | ${row.metric} | ${middle} | ${min} – ${max} | ${row.moatRatio?.toFixed(2) ?? ''} |\n`,
    );
  }
}

function progress(message: string): void {
  process.stderr.write(`bench: ${message}\n`);
}
