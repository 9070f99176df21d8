/**
 * A link between two processes, as gateway and node are: `node --conditions=@moat/source test/bench/link-pair.ts
 * [--against DIR] [--only NAME] [--profile DIR]`. Prints rates, the CPU time of both processes for one exchange and the time
 * one takes; asserts nothing about time. `--against` names the `src` of another version of the package, measured in turn with
 * this one; `--profile` writes a CPU profile of each process there.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { silentLogger, systemClock, type LinkStream, type RequestHead } from '@moat/core';
import type * as SessionModule from '../../packages/link/src/session.ts';
import type * as TlsModule from '../../packages/link/src/transport.tls.ts';
import { nothing } from './link-service.ts';
import { median, quantile } from './statistics.ts';

const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 2);
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 3);
const OURS = fileURLToPath(new URL('../../packages/link/src', import.meta.url));
const PSK = Buffer.alloc(32, 7);
const MIB = 1024 * 1024;

interface Scenario {
  readonly name: string;
  readonly inFlight: number;
  /** Bytes of an answer. */
  readonly bytes: number;
}

const SCENARIOS: readonly Scenario[] = [
  { name: '1k/c64', inFlight: 64, bytes: 1024 },
  { name: '1k/c1', inFlight: 1, bytes: 1024 },
  { name: '1m/c8', inFlight: 8, bytes: MIB },
];

/** What the opener measured. */
interface Result {
  readonly count: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly cpuSeconds: number;
}

type Message = { readonly kind: 'go'; readonly port: number } | { readonly kind: 'stop' } | { readonly kind: 'cpu' };

const head: RequestHead = {
  method: 'GET',
  authority: 'shop.example.com',
  target: '/products/42?colour=blue',
  bodyless: true,
  fields: [
    ['user-agent', 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0'],
    ['accept', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'],
    ['accept-language', 'en-US,en;q=0.5'],
    ['accept-encoding', 'gzip, deflate, br'],
    ['cookie', 'session=0123456789abcdef'],
    ['x-forwarded-for', '192.0.2.7'],
    ['x-forwarded-proto', 'https'],
    ['x-request-id', '01jd7m5s0q7r8s9t'],
  ],
};
const answerFields = [
  ['server', 'nginx/1.22.1'],
  ['date', 'Sat, 21 Nov 2026 06:14:15 GMT'],
  ['content-type', 'text/plain'],
  ['cache-control', 'no-store'],
] as const;
const block = Buffer.alloc(64 * 1024, 'y');

/** The service names the number of bytes it answers with. */
function serve(stream: LinkStream): void {
  let left = Number(stream.request.service.slice(1));
  const length = left;
  const pour = (): void => {
    while (left > 0) {
      const piece = left >= block.length ? block : block.subarray(0, left);
      left -= piece.length;
      if (!stream.write(piece)) break;
    }
    if (left > 0 || ended) return;
    ended = true;
    stream.end();
  };
  let ended = false;
  stream.listen({ ...nothing, onDrain: pour });
  stream.writeHead({ status: 200, fields: [...answerFields, ['content-length', String(length)]] });
  pour();
}

/** As many exchanges as fit, `inFlight` at a time. */
async function exchange(
  session: SessionModule.Session,
  { inFlight, bytes }: Scenario,
  seconds: number,
): Promise<Result> {
  const took: number[] = [];
  const request = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: `s${bytes}`, kind: 'http' } as const;
  const cpu = process.cpuUsage();
  const begun = performance.now();
  let running = inFlight;
  const over = Promise.withResolvers<void>();
  const begin = (): void => {
    const at = performance.now();
    if (at - begun > seconds * 1000) {
      running -= 1;
      if (running === 0) over.resolve();
      return;
    }
    let got = 0;
    const stream = session.open(request, head);
    stream.listen({
      ...nothing,
      onData: (chunk) => {
        got += chunk.length;
      },
      onClose: (code) => {
        if (code !== undefined || got !== bytes) over.reject(new Error(`${code} after ${got} bytes`));
        took.push(performance.now() - at);
        begin();
      },
    });
    stream.end();
  };
  for (let i = 0; i < inFlight; i++) begin();
  await over.promise;
  const { user, system } = process.cpuUsage(cpu);
  return {
    count: took.length,
    seconds: (performance.now() - begun) / 1000,
    p50Us: quantile(took, 0.5) * 1000,
    cpuSeconds: (user + system) / 1e6,
  };
}

/** The process that opens streams, as a gateway: the other end dials it. */
async function runOpener(source: string): Promise<void> {
  const { Session, acceptTls } = await load(source);
  const server = createServer({ noDelay: true }, (socket) => {
    void (async () => {
      await once(socket, 'readable');
      socket.read();
      const channel = await acceptTls(socket, { identity: 'bench', psk: PSK, peer: 'node' });
      const session = new Session(
        { channel, clock: systemClock, logger: silentLogger, accept: serve },
        { peer: 'node', path: 'direct', dialer: false },
      );
      process.on('message', (scenario: Scenario) => {
        void exchange(session, scenario, SECONDS).then((result) => process.send?.(result));
      });
      process.send?.('linked');
    })();
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
}

/** The process that answers, as a node. */
async function runAcceptor(source: string): Promise<void> {
  const { Session, dialTls } = await load(source);
  process.on('message', (message: Message) => {
    if (message.kind === 'stop') process.exit();
    if (message.kind === 'cpu') process.send?.(process.cpuUsage());
    if (message.kind !== 'go') return;
    void dialTls({
      host: '127.0.0.1',
      port: message.port,
      preambles: [Buffer.of(1)],
      ticket: { identity: 'bench', psk: PSK, peer: 'gateway' },
      signal: AbortSignal.timeout(10_000),
    }).then(
      (channel) =>
        new Session(
          {
            channel,
            clock: systemClock,
            logger: silentLogger,
            accept: serve,
          },
          { peer: 'gateway', path: 'direct', dialer: true, limits: { opens: { perSecond: 1e9, burst: 1e9 } } },
        ),
    );
  });
}

async function load(source: string): Promise<typeof SessionModule & typeof TlsModule> {
  const from = (name: string): string => pathToFileURL(`${source}/${name}`).href;
  const session = (await import(from('session.ts'))) as typeof SessionModule;
  return { ...session, ...((await import(from('transport.tls.ts'))) as typeof TlsModule) };
}

/** Two processes with a link between them. */
class Pair {
  readonly source: string;
  readonly #opener: ChildProcess;
  readonly #acceptor: ChildProcess;

  constructor(source: string) {
    this.source = source;
    this.#opener = this.#spawn('opener');
    this.#acceptor = this.#spawn('acceptor');
  }

  async link(): Promise<void> {
    const [port] = (await once(this.#opener, 'message')) as [number];
    this.#acceptor.send({ kind: 'go', port } satisfies Message);
    await once(this.#opener, 'message');
  }

  /** CPU seconds of the acceptor so far. */
  async #acceptorCpu(): Promise<number> {
    this.#acceptor.send({ kind: 'cpu' } satisfies Message);
    const [usage] = (await once(this.#acceptor, 'message')) as [NodeJS.CpuUsage];
    return (usage.user + usage.system) / 1e6;
  }

  async measure(scenario: Scenario): Promise<Record<string, number>> {
    const before = await this.#acceptorCpu();
    this.#opener.send(scenario);
    const [result] = (await once(this.#opener, 'message')) as [Result];
    const acceptor = (await this.#acceptorCpu()) - before;
    return {
      perSecond: result.count / result.seconds,
      openerUs: (result.cpuSeconds / result.count) * 1e6,
      acceptorUs: (acceptor / result.count) * 1e6,
      bothUs: ((result.cpuSeconds + acceptor) / result.count) * 1e6,
      p50Us: result.p50Us,
    };
  }

  async stop(): Promise<void> {
    const gone = [this.#opener, this.#acceptor].map((child) => once(child, 'exit'));
    this.#acceptor.send({ kind: 'stop' } satisfies Message);
    this.#opener.kill('SIGINT');
    await Promise.all(gone);
  }

  #spawn(role: string): ChildProcess {
    const profile = option('--profile');
    const flags =
      profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`, `--cpu-prof-name=${role}.cpuprofile`];
    return spawn(
      process.execPath,
      ['--conditions=@moat/source', ...flags, fileURLToPath(import.meta.url), '--role', role, this.source],
      { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
    );
  }
}

async function run(): Promise<void> {
  const against = option('--against');
  const pairs = [OURS, ...(against === undefined ? [] : [against])].map((source) => new Pair(source));
  for (const pair of pairs) await pair.link();
  for (const scenario of SCENARIOS) {
    if (!scenario.name.includes(option('--only') ?? '')) continue;
    const results = pairs.map((): Record<string, number>[] => []);
    for (const pair of pairs) await pair.measure(scenario);
    for (let round = 0; round < ROUNDS; round++) {
      for (const index of round % 2 === 0 ? [0, 1] : [1, 0]) {
        const measured = await pairs[index]?.measure(scenario);
        if (measured) results[index]?.push(measured);
      }
    }
    for (const [index, pair] of pairs.entries()) {
      const of = (metric: string): string => median(results[index]?.map((each) => each[metric] ?? 0) ?? []).toFixed(1);
      console.log(
        `${scenario.name.padEnd(7)} ${of('perSecond').padStart(9)}/s  ${of('bothUs')} µs CPU (opener ${of('openerUs')}, acceptor ${of('acceptorUs')})  ` +
          `p50 ${of('p50Us')} µs  ${pair.source === OURS ? 'this' : pair.source}`,
      );
    }
  }
  await Promise.all(pairs.map((pair) => pair.stop()));
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at === -1 ? undefined : process.argv[at + 1];
}

const role = option('--role');
const source = process.argv.at(-1) ?? OURS;
process.on('SIGINT', () => process.exit());
if (role === 'opener') await runOpener(source);
else if (role === 'acceptor') await runAcceptor(source);
else await run();
