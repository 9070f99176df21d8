/** What members may do to a request, and what the client sees of it then. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MoatError, type Link, type LinkStream } from '@moat/core';
import { HOST } from '../edge-under-test.ts';
import { answering, member, resetting, TEXT } from '../member.ts';
import { fetched, get, open, start } from './exchange-client.ts';

const FAILURES: readonly (readonly [code: string, status: number, shown: string])[] = [
  ['GRANT_DENIED', 502, 'MEMBER_REFUSED'],
  ['NOT_EXPOSED', 502, 'MEMBER_REFUSED'],
  ['NOT_PUBLIC', 503, 'NOT_PUBLIC'],
  ['NOT_PUBLISHED', 502, 'MEMBER_REFUSED'],
  ['SERVICE_UNREACHABLE', 502, 'SERVICE_UNREACHABLE'],
  ['SERVICE_PROTOCOL', 502, 'ANSWER_INVALID'],
  ['SERVICE_TIMEOUT', 504, 'ANSWER_TIMEOUT'],
  ['SERVICE_BUSY', 503, 'GATEWAY_BUSY'],
  ['PUBLIC_AUTH', 401, 'AUTH_REQUIRED'],
  ['LINK_CLOSED', 502, 'LINK_LOST'],
  ['constructor', 502, 'LINK_LOST'],
];
for (const [code, status, shown] of FAILURES) {
  test(`a stream that ends with ${code} is ${status} ${shown}`, async () => {
    await using edge = await start();
    edge.publish({ m1: resetting(code) });
    const answer = await get(edge, { headers: { accept: 'application/json' } });
    assert.equal(answer.status, status);
    const body = JSON.parse(answer.text) as { error: { code: string; message: string }; requestId: string };
    assert.equal(body.error.code, shown);
    assert.equal(answer.headers['retry-after'] !== undefined, status === 503);
    assert.equal(answer.headers['www-authenticate'], status === 401 ? 'Moat realm=""' : undefined, 'no dialog');
    const line = await edge.logged(({ requestId }) => requestId === body.requestId);
    assert.equal(line['code'], `${shown}/${code}`);
    assert.equal(answer.text.includes(code) && shown !== code, false, "the member's own code is for the log");
  });
}

test('nobody connected is 503 with Retry-After, nothing published is 404', async () => {
  await using edge = await start();
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['away'] }, ['held.localhost']);
  const away = await get(edge);
  assert.equal(away.status, 503);
  assert.ok(Number(away.headers['retry-after']) > 0);
  assert.match(away.text, /NO_MEMBER_CONNECTED/);
  assert.match(String(away.headers['content-type']), /^text\/html/);
  const held = await get(edge, { servername: 'held.localhost', headers: { host: 'held.localhost' } });
  assert.equal(held.status, 404);
});

test('a hostile member cannot write a second answer into the first', async () => {
  const answers: readonly (readonly [string, string][])[] = [
    [['x', 'a\r\nx-injected: 1']],
    [['x\r\ny', 'a']],
    [['x y', 'a']],
    [['x', 'a\0']],
    [
      ['content-length', '5'],
      ['content-length', '6'],
    ],
    [['content-length', '+5']],
    [['content-length', '5, 5']],
    [['x', '\u{1f600}']],
  ];
  for (const fields of answers) {
    await using edge = await start();
    edge.publish({
      m1: member((stream) => {
        stream.writeHead({ status: 200, fields });
        stream.write(Buffer.from('hello'));
        stream.end();
        return {};
      }),
    });
    const answer = await get(edge);
    assert.equal(answer.status, 502, JSON.stringify(fields));
    assert.match(answer.text, /ANSWER_INVALID/);
  }
});

test('an answer that breaks its word is cut, never mended', async () => {
  const cases: readonly ((stream: LinkStream) => void)[] = [
    (stream) => {
      stream.writeHead({ status: 200, fields: [['content-length', '10']] });
      stream.write(Buffer.from('short'));
      stream.end();
    },
    (stream) => {
      stream.writeHead({ status: 200, fields: [['content-length', '3']] });
      stream.write(Buffer.from('too long'));
      stream.end();
    },
    (stream) => {
      stream.writeHead({ status: 200, fields: TEXT });
      stream.write(Buffer.from('half'));
      setImmediate(() => stream.reset('SERVICE_RESET'));
    },
  ];
  for (const misbehave of cases) {
    await using edge = await start();
    edge.publish({
      m1: member((stream) => {
        misbehave(stream);
        return {};
      }),
    });
    await assert.rejects(get(edge), { code: 'ECONNRESET' });
  }
});

test('status, body and order of a member are checked', async () => {
  const cases: readonly ((stream: LinkStream) => void)[] = [
    (stream) => stream.writeHead({ status: 99, fields: [] }),
    (stream) => stream.writeHead({ status: 600, fields: [] }),
    (stream) => stream.writeHead({ status: 101, fields: [] }),
    (stream) => stream.writeHead({ connected: true }),
    (stream) => void stream.write(Buffer.from('x')),
    (stream) => stream.end(),
  ];
  for (const misbehave of cases) {
    await using edge = await start();
    edge.publish({
      m1: member((stream) => {
        misbehave(stream);
        return {};
      }),
    });
    const answer = await get(edge);
    assert.equal(answer.status, 502);
    assert.match(answer.text, /ANSWER_INVALID/);
  }
});

test('what only fits a newer client is left out for an older one', async () => {
  await using edge = await start();
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 103, fields: [['link', '</a.css>; rel=preload']] });
      stream.writeHead({ status: 200, fields: [...TEXT, ['trailer', 'x-sum']] });
      stream.write(Buffer.from('old'));
      stream.end([['x-sum', '1']]);
      return {};
    }),
  });
  const text = await edge.raw(`GET / HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`);
  assert.match(text, /^HTTP\/1\.1 200 [\s\S]*\r\n\r\nold$/);
  assert.doesNotMatch(text, /x-sum|103/);
});

test('hints and trailers of a hostile member are checked too', async () => {
  const cases: readonly ((stream: LinkStream) => void)[] = [
    (stream) =>
      stream.writeHead({
        status: 103,
        fields: [
          ['link', '</a>; rel=preload'],
          ['x', 'a\r\nx-injected: 1'],
        ],
      }),
    (stream) => {
      stream.writeHead({ status: 200, fields: TEXT });
      stream.write(Buffer.from('a'));
      stream.end([['x', 'a\r\nx-injected: 1']]);
    },
  ];
  for (const misbehave of cases) {
    await using edge = await start();
    edge.publish({
      m1: member((stream) => {
        misbehave(stream);
        return {};
      }),
    });
    const text = await edge.raw(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    assert.doesNotMatch(text, /injected/);
    // An error page, or an answer that is cut.
    assert.match(text, /^(HTTP\/1\.1 502 [\s\S]*ANSWER_INVALID|HTTP\/1\.1 200 (?![\s\S]*\r\n0\r\n)|$)/);
  }
});

test("a request the link cannot carry is the client's fault, not the member's", async () => {
  await using edge = await start();
  edge.publish({ m1: answering('hello') });
  const link = edge.links.get('m1');
  assert.ok(link);
  let broken = true;
  const refusing: Link = {
    ...link,
    open: (request, head) => {
      if (broken) throw new MoatError('HEAD_TOO_LARGE', 'too large');
      return link.open(request, head);
    },
  };
  edge.links.replace('m1', refusing);
  assert.equal((await get(edge)).status, 431);
  broken = false;
  assert.equal((await get(edge)).status, 200);
  assert.equal(edge.routes.current.find(HOST)?.balancer.healthy('m1'), true);
});

test('a request that cannot do harm goes to another member', async () => {
  await using edge = await start();
  const refused: string[] = [];
  const broken = member((stream) => {
    refused.push(stream.requestHead?.method ?? '');
    stream.reset('SERVICE_UNREACHABLE');
    return undefined;
  });
  edge.publish({ m1: broken, m2: answering('from m2') });
  for (let i = 0; i < 10; i++) assert.equal((await get(edge)).text, 'from m2');
  assert.ok(refused.length < 10, 'a failing member is avoided');
  // Whatever may have happened once must not happen twice.
  await using harmful = await start();
  let tries = 0;
  const counting = member((stream) => {
    tries += 1;
    stream.reset('LINK_CLOSED');
    return undefined;
  });
  harmful.publish({ m1: counting, m2: counting });
  assert.equal((await get(harmful, { method: 'POST', headers: { 'content-length': '0' } })).status, 502);
  assert.equal(tries, 1);
  assert.equal((await fetched(open(harmful, { method: 'PUT' }), 'x')).status, 502);
  assert.equal(tries, 2);
  assert.equal((await get(harmful)).status, 502);
  assert.equal(tries, 4);
});

test('what no service has seen a byte of goes to another member, whatever it would do', async () => {
  for (const [code, status] of [
    ['SERVICE_UNREACHABLE', 200],
    ['SERVICE_BUSY', 200],
    // The service may have done it already.
    ['SERVICE_RESET', 502],
    ['NETWORK_STOPPED', 502],
  ] as const) {
    await using edge = await start();
    let first = true;
    const failing = member((stream) => {
      if (!first) return answering('done')(stream) as undefined;
      first = false;
      stream.reset(code);
      return undefined;
    });
    edge.publish({ m1: failing, m2: failing });
    const posted = await get(edge, { method: 'POST', headers: { 'content-length': '0' } });
    assert.equal(posted.status, status, code);
  }
});

test('where one member’s service is down and another was never let in, the client hears of the service', async () => {
  await using edge = await start();
  edge.publish({ m1: resetting('SERVICE_UNREACHABLE'), m2: resetting('NOT_EXPOSED') });
  for (let i = 0; i < 10; i++) assert.match((await get(edge)).text, /SERVICE_UNREACHABLE/);
});

test('several members share the work, one that lost its link gets none', async () => {
  await using edge = await start();
  const counts = new Map<string, number>();
  const counting = (name: string): ReturnType<typeof member> => {
    const answer = answering(name);
    return (stream) => {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      answer(stream);
    };
  };
  edge.publish({ m1: counting('m1'), m2: counting('m2'), m3: counting('m3') });
  await Promise.all(Array.from({ length: 150 }, () => get(edge)));
  for (const name of ['m1', 'm2', 'm3']) assert.ok((counts.get(name) ?? 0) >= 15, `${name}: ${counts.get(name)}`);
  edge.links.get('m2')?.close();
  counts.clear();
  await Promise.all(Array.from({ length: 20 }, () => get(edge)));
  assert.equal(counts.get('m2'), undefined);
});
