import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { MoatError } from '@moat/core';
import fc from 'fast-check';
import { createProxy } from '../../src/index.ts';
import { MemoryHub } from '../memory-links.ts';
import { rawServer } from '../peer.ts';
import { PEERS, contract, machine, targeting, viewOf } from '../shop.ts';

const PASSWORD = 'a password: of this proxy';
const BASIC = Buffer.from(`moat:${PASSWORD}`).toString('base64');
const codes: Record<string, string> = { denied: 'GRANT_DENIED', gone: 'SERVICE_UNKNOWN', down: 'SERVICE_UNREACHABLE' };
const deps = {
  resolve: (host: string) => {
    const code = codes[host];
    return code === undefined ? undefined : { open: () => Promise.reject(new MoatError(code, 'test')) };
  },
};

/** All the proxy says until it ends. */
async function talk(port: number, ...pieces: readonly (string | Buffer)[]): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  let said = '';
  socket.setEncoding('latin1').on('data', (text: string) => (said += text));
  socket.on('error', () => undefined);
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await once(socket, 'close');
  return said;
}

/** Status and body. */
function short(answer: string): string {
  return answer.replace(/^HTTP\/1\.1 (\d+)[\s\S]*\r\n\r\n([\s\S]*)\n$/, '$1 $2');
}

suite('proxy: HTTP CONNECT', () => {
  const table: Record<string, [request: string, said: string]> = {
    'a name outside': ['CONNECT example.com:443 HTTP/1.1', '403 DESTINATION_REFUSED'],
    'an address outside': ['CONNECT [::1]:443 HTTP/1.1', '403 DESTINATION_REFUSED'],
    'a denied service': ['CONNECT denied:1 HTTP/1.1', '403 GRANT_DENIED'],
    'an unknown service': ['CONNECT gone:1 HTTP/1.0', '404 SERVICE_UNKNOWN'],
    'an unreachable service': ['CONNECT DOWN.:1 HTTP/1.1', '502 SERVICE_UNREACHABLE'],
    'a request to fetch': ['GET http://down/ HTTP/1.1', '405 PROXY_PROTOCOL'],
    'no port': ['CONNECT down HTTP/1.1', '400 PROXY_PROTOCOL'],
    'port 0': ['CONNECT down:0 HTTP/1.1', '400 PROXY_PROTOCOL'],
    'credentials in the target': ['CONNECT u@down:1 HTTP/1.1', '400 PROXY_PROTOCOL'],
    'another protocol': ['HELO there', '400 PROXY_PROTOCOL'],
    'a head without end': [`CONNECT down:1 HTTP/1.1\r\nX: ${'x'.repeat(9_000)}`, '431 PROXY_PROTOCOL'],
  };
  for (const [name, [request, said]] of Object.entries(table)) {
    test(name, async () => {
      await using proxy = await createProxy(deps, { port: 0 });
      assert.equal(short(await talk(proxy.port, `${request}\r\nHost: x\r\n\r\n`)), said);
    });
  }

  test('byte by byte', async () => {
    await using proxy = await createProxy(deps, { port: 0 });
    assert.equal(
      short(await talk(proxy.port, ...'CONNECT down:1 HTTP/1.1\r\n\r\n'.split(''))),
      '502 SERVICE_UNREACHABLE',
    );
  });

  test('property: any bytes end in a refusal or a close', async () => {
    await using proxy = await createProxy(deps, { port: 0 });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 80 }), fc.boolean(), async (noise, begun) => {
        const socket = connect({ host: '127.0.0.1', port: proxy.port });
        socket.on('error', () => undefined);
        socket.resume();
        socket.end(Buffer.concat([Buffer.from(begun ? 'CONNECT a:1 HTTP/1.1\r\n' : ''), noise]));
        await once(socket, 'close');
      }),
      { numRuns: 150 },
    );
  });
});

suite('proxy: with a password', () => {
  test('HTTP without it, or with another, is refused', async () => {
    await using proxy = await createProxy(deps, { port: 0, password: PASSWORD });
    const ask = async (...fields: string[]): Promise<string> =>
      short(await talk(proxy.port, ['CONNECT down:1 HTTP/1.1', ...fields, '', ''].join('\r\n')));
    const wrong = [Buffer.from('moat:x').toString('base64'), Buffer.from(`x:${PASSWORD}`).toString('base64'), '%%'];
    assert.equal(await ask(), '407 PROXY_PASSWORD');
    for (const basic of wrong) assert.equal(await ask(`Proxy-Authorization: Basic ${basic}`), '407 PROXY_PASSWORD');
    assert.equal(await ask(`proxy-authorization: basic ${BASIC}`), '502 SERVICE_UNREACHABLE');
  });

  test('SOCKS without it, or with another, is refused', async () => {
    await using proxy = await createProxy(deps, { port: 0, password: PASSWORD });
    const login = (user: string, password: string): Buffer =>
      Buffer.concat([Buffer.of(1, user.length), Buffer.from(user), Buffer.of(password.length), Buffer.from(password)]);
    const hex = async (...pieces: Buffer[]): Promise<string> =>
      Buffer.from(await talk(proxy.port, ...pieces), 'latin1').toString('hex');
    const down = Buffer.concat([Buffer.of(5, 1, 0, 3, 4), Buffer.from('down'), Buffer.of(0, 1)]);
    assert.equal(await hex(Buffer.of(5, 1, 0)), '05ff');
    assert.equal(await hex(Buffer.of(5, 1, 2), login('moat', 'x'), down), '05020101');
    assert.equal(await hex(Buffer.of(5, 1, 2), login('x', PASSWORD), down), '05020101');
    const right = Buffer.concat([Buffer.of(5, 2, 0, 2), login('moat', PASSWORD), down]);
    assert.equal(await hex(right), '0502010005050001000000000000');
    assert.equal(await hex(...[...right].map((byte) => Buffer.of(byte))), '0502010005050001000000000000');
  });
});

test('curl reaches a service by name through either protocol, with the password only', async (t) => {
  const hub = new MemoryHub();
  await using service = await rawServer((socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'));
  });
  await using db = machine(hub, 'db-1', PEERS.db1, { loopback: false });
  await using web = machine(hub, 'web-1', PEERS.web1);
  await db.network.start({ signal: new AbortController().signal });
  web.expose(service.port);
  const members = contract().members.filter(({ name }) => name !== 'web-2');
  const view = viewOf({ ...targeting({ web: service.port }), members });
  await Promise.all([db.network.update(view), web.network.update(view)]);
  const resolve = db.network.resolve.bind(db.network);
  await using proxy = await createProxy({ resolve }, { port: 0, password: 'secret' });
  const curl = (scheme: string, user: string): Promise<{ stdout: string }> =>
    promisify(execFile)('curl', [
      '-sS',
      '-m5',
      '--proxytunnel',
      '-x',
      `${scheme}://${user}127.0.0.1:${proxy.port}`,
      'http://web.shop.internal:8080/',
    ]);
  const found = await curl('http', 'moat:secret@').catch((error: NodeJS.ErrnoException) => error);
  if ('code' in found && found.code === 'ENOENT') return t.skip('curl is not installed');
  assert.equal((found as { stdout: string }).stdout, 'hello');
  assert.equal((await curl('socks5h', 'moat:secret@')).stdout, 'hello');
  for (const scheme of ['http', 'socks5h']) {
    await assert.rejects(curl(scheme, ''));
    await assert.rejects(curl(scheme, 'moat:wrong@'));
  }
});
