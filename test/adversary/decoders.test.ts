/**
 * Every decoder that reads what a stranger wrote, fuzzed with coverage as the guide: each input ends in a value or in
 * an error with a code, within a second, and what comes in pieces is read like what comes whole.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, suite, test } from 'node:test';
import { full } from '../e2e/machine.ts';
import { Coverage, fuzz, type Target } from './guided.ts';
import { seeded } from './mutate.ts';
import { pinned, publication, seat, type Pen as PenType } from './pen.ts';

/** MOAT_FUZZ_SEED=<number> repeats a run. */
const SEED = Number(process.env['MOAT_FUZZ_SEED'] ?? randomInt(2 ** 31));
const MS = full ? 20_000 : 800;

// before anything it shall count is loaded
const coverage = new Coverage();
const contract = await import('@moat/contract');
const { isMoatError } = await import('@moat/core');
const { createNodeKey } = await import('@moat/identity');
const { Pen } = (await import('./pen.ts')) as { Pen: typeof PenType };
const frame = await import('../../packages/link/src/frame.ts');
const heads = await import('../../packages/link/src/http-head.ts');
const open = await import('../../packages/link/src/open.ts');
const links = await import('../../packages/link/src/messages.ts');
const splices = await import('../../packages/link/src/splice-messages.ts');
const relay = await import('../../packages/overlay/src/relay-wire.ts');
const news = await import('../../packages/overlay/src/news.ts');
const dns = await import('../../packages/network/src/rootless/dns-message.ts');
const http = await import('../../packages/network/src/connector/http1-parser.ts');
const { RequestParser } = await import('../../gateway/src/request/http1-parser.ts');
const { readCorpus } = await import('../../gateway/test/request/corpus.ts');

const random = seeded(SEED);

/** Milliseconds of processor time that this thread took: others run too. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/** Runs what may refuse, and lets only refusals with a code pass. */
function refusing<T>(work: () => T): T | string {
  const begin = cpuMs();
  try {
    return work();
  } catch (error) {
    if (!isMoatError(error)) throw error;
    return error.code;
  } finally {
    const ms = cpuMs() - begin;
    if (ms > 1000) assert.fail(`it took ${Math.round(ms)} ms`);
  }
}

/** A decoder of JSON; what it takes, it takes again from its own output. */
function json(
  name: string,
  parse: (input: unknown) => object,
  sources: readonly string[],
  seeds: readonly object[],
): Target {
  return {
    name,
    sources,
    seeds: seeds.map((seed) => Buffer.from(JSON.stringify(seed))),
    run: (input) => {
      const value = refusing(() => parse(input));
      if (typeof value === 'string') return;
      assert.deepEqual(parse(JSON.parse(JSON.stringify(value))), value, 'it does not read its own output');
      refusing(() => contract.canonicalBytes(value));
    },
  };
}

/** Reads it whole, and in pieces of random sizes: the same must come of it. */
function inPieces(
  input: Buffer,
  read: (push: (begin: (sink: (text: string) => void) => (chunk: Buffer) => void) => void) => void,
): void {
  const outcomes: string[] = [];
  for (const pieces of [1, 7]) {
    read((begin) => {
      const said: string[] = [];
      const push = begin((text) => said.push(text));
      const code = refusing(() => {
        for (let at = 0; at < input.length;) {
          const size = pieces === 1 ? input.length : 1 + random.below(pieces);
          push(Buffer.from(input.subarray(at, at + size)));
          at += size;
        }
        return 'read';
      });
      outcomes.push([...said, code].join('\n'));
    });
  }
  assert.equal(outcomes[1], outcomes[0], 'read in pieces it is something else');
}

function targets(): Target[] {
  const pen = new Pen([seat('ana'), seat('bob')], 2);
  const [a, b] = [createNodeKey(), createNodeKey()];
  const place = pen.invited('laptop', 9);
  const gateway = `/ip4/203.0.113.1/tcp/4410/p2p/${b.peerId}`;
  const version = pen.write({
    anchors: [gateway],
    members: [pinned('home', 2, a.peerId, { keeper: true, tags: ['db'] }), pinned('web', 3, b.peerId), place.member],
    services: [{ name: 'db', on: ['tag:db'], port: 5432, target: '127.0.0.1:5432', protocol: 'tcp' }],
    access: [{ from: ['web'], to: ['db'], expires: '2030-01-01T00:00:00Z' }],
    publish: [publication('shop', 'db', 'apps.example.com', [gateway])],
  });
  pen.current = version;
  const details = { nonce: 'A'.repeat(22), member: 'laptop', wireguard: null };
  const inviteSigner = contract.createInvite(place.seed).signer;
  const signed = contract.createClaim({ deployment: pen.deployment, details, nodeSigner: a.signer, inviteSigner });
  const witnessed = { ...contract.witnessClaim(signed, Date.now(), a.signer), details };
  const next = { ...version.contract, version: 1, name: 'shop-2' };
  const proposal = contract.signProposal(
    contract.proposalOf({ contract: version.contract, head: version.signed.head }, next),
    pen.seats[0]?.key.signer ?? assert.fail(),
  );
  const parse = ['/contract/src/parse/', '/contract/src/'];
  const request = heads.encodeRequestHead({
    method: 'GET',
    authority: 'shop.example.com',
    target: '/path?query',
    fields: [['accept', '*/*']],
    more: [['x-request-id', '01jd7m5s0q7r8s9t']],
    upgrade: 'websocket',
    bodyless: true,
  });
  const dnsQuery = Buffer.from('123401000001000000000000026462047368', 'hex');
  const question = Buffer.concat([dnsQuery, Buffer.from('6f7008696e7465726e616c0000010001', 'hex')]);
  const delta = JSON.parse(Buffer.from(contract.contractDelta(version.contract, next)).toString()) as object;
  return [
    json('contract', contract.parseContract, parse, [version.contract, next]),
    json('contract delta', (input) => contract.parseContract(input, version.contract), parse, [delta]),
    json('head proof', contract.parseHeadProof, parse, [version.proof]),
    json('bundle', contract.parsePublicationBundle, parse, [
      contract.bundleFor(version.proof, version.contract, [], b.peerId),
    ]),
    json('claim', contract.parseMemberClaim, parse, [witnessed]),
    json('proposal', contract.parseProposal, parse, [proposal]),
    {
      name: 'token',
      sources: parse,
      seeds: [Buffer.from(pen.token([gateway], place, [gateway])), Buffer.from(pen.token([gateway]))],
      run: (input) => void refusing(() => contract.parseToken(input.toString())),
    },
    {
      name: 'moat.yaml',
      sources: ['/contract/src/yaml/', '/node_modules/yaml/'],
      seeds: [
        'version: 1\nname: shop\nmembers:\n  home: { node: x, keeper: true }\nservices:\n  db: { on: home, port: 5432 }\naccess:\n  - { from: home, to: db }\n',
        'version: 1\nname: a\nnetwork: { ipv4: 10.7.0.0/16, maxStale: 2h }\nmembers: &m\n  b: {}\nx: *m\n',
      ].map((text) => Buffer.from(text)),
      run: (input) => void refusing(() => contract.parseDeploymentFile(input.toString(), 'moat.yaml')),
    },
    {
      name: 'link frames',
      sources: ['/link/src/frame'],
      seeds: [
        Buffer.from('010000040000000100000001', 'hex'),
        Buffer.from('03000003000000016162630400000000000001', 'hex'),
      ],
      run: (input) =>
        inPieces(input, (push) =>
          push((say) => {
            let data = '';
            const decoder = new frame.FrameDecoder({
              // pieces of data differ by how they come; together they are the same
              data: (id, piece) => void (data += `${id}:${piece.toString('hex')}`.length),
              frame: (type, id, payload) => say(`${type} ${id} ${payload.toString('hex')}`),
            });
            return (chunk) => decoder.push(chunk);
          }),
        ),
    },
    {
      name: 'open and heads',
      sources: ['/link/src/open', '/link/src/http'],
      seeds: [open.encodeOpen({ deployment: 'a'.repeat(26), service: 'db', kind: 'tcp' }, undefined), request],
      run: (input) => {
        refusing(() => open.decodeOpen(input));
        const head = refusing(() => heads.decodeRequestHead(input));
        if (typeof head !== 'string') assert.deepEqual(heads.decodeRequestHead(heads.encodeRequestHead(head)), head);
        refusing(() => heads.decodeResponseHead(input));
        refusing(() => heads.decodeTrailers(input));
      },
    },
    {
      name: 'link and splice messages',
      sources: ['/link/src/messages', '/link/src/splice-messages'],
      seeds: [
        {
          type: 'offer',
          tickets: [{ id: 'A'.repeat(22), secret: 'A'.repeat(43) }],
          port: 4411,
          kind: 'member',
          expires: 10_000,
        },
        { type: 'pair', ids: ['A'.repeat(22), 'A'.repeat(22)], port: 4411, expires: 10_000 },
      ].map((seed) => Buffer.from(JSON.stringify(seed))),
      run: (input) => {
        refusing(() => links.decodeMessage(input));
        refusing(() => splices.decodeSpliceMessage(input));
      },
    },
    {
      name: 'relay messages',
      sources: ['/overlay/src/relay-wire'],
      seeds: [relay.encodeReserve(), relay.encodeStopConnect(a.peerId), relay.encodeHopStatus(100, 2 ** 31)].map(
        (bytes) => Buffer.from(bytes),
      ),
      run: (input) => {
        for (const decode of [
          relay.decodeHopRequest,
          relay.decodeHopStatus,
          relay.decodeStopStatus,
          relay.readLength,
        ]) {
          refusing<unknown>(() => decode(input));
        }
      },
    },
    {
      name: 'news',
      sources: ['/overlay/src/news', '/overlay/src/messages', '/contract/src/parse/'],
      seeds: [Buffer.from(news.encodeNews({ deployment: pen.deployment, proof: version.proof, claims: [witnessed] }))],
      run: (input) => void refusing(() => news.decodeNews(input)),
    },
    {
      name: 'DNS messages',
      sources: ['/rootless/dns-message'],
      seeds: [question, Buffer.concat([question.subarray(0, 12), Buffer.from('c00c00010001', 'hex')])],
      run: (input) => void refusing(() => dns.readDnsMessage(input, () => [])),
    },
    {
      name: 'requests of clients',
      sources: ['/request/http1-parser', '/request/http1-head', '/request/parse'],
      seeds: readCorpus('shop.localhost').map(({ bytes }) => Buffer.from(bytes, 'latin1')),
      run: (input) =>
        inPieces(input, (push) =>
          push((say) => {
            const rules = { scheme: 'https', maxHeadBytes: 16 * 1024 } as const;
            const parser = new RequestParser(rules, {
              onHead: (head) => say(JSON.stringify(head)),
              onBody: () => true,
              onEnd: (trailers) => say(JSON.stringify(trailers)),
            });
            return (chunk) => {
              for (let at = 0; at < chunk.length && !parser.isSwitched;) {
                at = parser.execute(chunk, at);
                if (parser.isComplete) parser.next();
              }
            };
          }),
        ),
    },
    {
      name: 'answers of services',
      sources: ['/connector/http1-parser', '/connector/fields'],
      seeds: [
        'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody',
        'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n4;x=y\r\nbody\r\n0\r\na: b\r\n\r\n',
        'HTTP/1.0 304 Not Modified\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n',
        'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw',
      ].map((text) => Buffer.from(text)),
      run: (input) =>
        inPieces(input, (push) =>
          push((say) => {
            const events = {
              onHead: (head: object) => say(JSON.stringify(head)),
              onBody: () => undefined,
              onEnd: (trailers: unknown) => say(JSON.stringify(trailers)),
            };
            const parser = new http.ResponseParser({ method: 'GET', upgrade: 'websocket' }, events);
            return (chunk) => void parser.execute(chunk);
          }),
        ),
    },
  ];
}

suite(`decoders (seed ${SEED})`, { timeout: 600_000 }, () => {
  after(() => coverage[Symbol.dispose]());

  for (const target of targets()) {
    test(target.name, (t) => {
      const { runs, blocks, kept } = fuzz(target, coverage, random, MS);
      t.diagnostic(`${runs} inputs, ${blocks.seeds} blocks by the seeds, ${blocks.all} in all, ${kept} inputs kept`);
      assert.ok(runs > target.seeds.length, 'it ran');
      assert.ok(blocks.seeds > 0, 'coverage is measured');
    });
  }
});
