import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { MoatError } from '@moat/core';
import fc from 'fast-check';
import { createProxy } from '../../src/rootless/proxy.ts';
import { MemoryHub } from '../memory-links.ts';
import { rawServer } from '../peer.ts';
import { PEERS, contract, machine, targeting, viewOf } from '../shop.ts';

/** Sends hexadecimal bytes one piece after another; returns all the proxy says until it ends. */
async function talk(port: number, ...pieces: readonly string[]): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined);
  for (const piece of pieces) {
    socket.write(Buffer.from(piece.replaceAll(' ', ''), 'hex'));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await once(socket, 'close');
  return Buffer.concat(chunks).toString('hex');
}

function named(host: string, port: number): string {
  const name = Buffer.from(host);
  return `05 01 00 03 ${Buffer.of(name.length).toString('hex')} ${name.toString('hex')} ${port.toString(16).padStart(4, '0')}`;
}

const HELLO = '05 01 00';

suite('socks: protocol', () => {
  const answers: Record<string, [pieces: string[], said: string]> = {
    'no method we know': [['05 02 01 02'], '05ff'],
    'no methods at all': [['05 00'], '05ff'],
    SOCKS4: [['04 01 00 50 7f 00 00 01 00'], ''],
    TLS: [['16 03 01 00 10'], ''],
    BIND: [[HELLO, '05 02 00 01 7f 00 00 01 00 50'], '050005070001000000000000'],
    UDP: [[HELLO, '05 03 00 01 7f 00 00 01 00 50'], '050005070001000000000000'],
    'an address type that does not exist': [[HELLO, '05 01 00 09 00 00 00'], '050005080001000000000000'],
    'a reserved byte that is not 0': [[HELLO, '05 01 01 01 7f 00 00 01 00 50'], '0500'],
    'another version in the request': [[HELLO, '04 01 00 01 7f 00 00 01 00 50'], '0500'],
    'an address outside': [[HELLO, '05 01 00 01 01 01 01 01 00 50'], '050005020001000000000000'],
    'an IPv6 address outside': [[HELLO, `05 01 00 04 ${'fd'.repeat(16)} 00 50`], '050005020001000000000000'],
    'a name outside': [[HELLO, named('example.com', 80)], '050005020001000000000000'],
    'an empty name': [[HELLO, named('', 80)], '050005020001000000000000'],
    'a denied service': [[HELLO, named('denied', 1)], '050005020001000000000000'],
    'an unreachable service': [[HELLO, named('down', 1)], '050005050001000000000000'],
    'a broken service': [[HELLO, named('broken', 1)], '050005010001000000000000'],
    'byte by byte': [[...HELLO.split(' '), ...named('down', 1).match(/[0-9a-f]{2}/g)!], '050005050001000000000000'],
    'all at once': [[HELLO + named('down', 1)], '050005050001000000000000'],
    'a capital name with a final dot': [[HELLO, named('DOWN.', 1)], '050005050001000000000000'],
  };
  const codes: Record<string, string> = { denied: 'GRANT_DENIED', down: 'SERVICE_UNREACHABLE', broken: 'INTERNAL' };
  const deps = {
    resolve: (host: string) => {
      const code = codes[host];
      return code === undefined ? undefined : { open: () => Promise.reject(new MoatError(code, 'test')) };
    },
  };
  for (const [name, [pieces, said]] of Object.entries(answers)) {
    test(name, async () => {
      await using socks = await createProxy(deps, { port: 0 });
      assert.equal(await talk(socks.port, ...pieces), said);
    });
  }

  test('property: any bytes end in a refusal or a close', async () => {
    await using socks = await createProxy(deps, { port: 0 });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), fc.boolean(), async (noise, greeted) => {
        const socket = connect({ host: '127.0.0.1', port: socks.port });
        socket.on('error', () => undefined);
        socket.resume();
        socket.end(Buffer.concat([greeted ? Buffer.from('050100', 'hex') : Buffer.alloc(0), noise]));
        await once(socket, 'close');
      }),
      { numRuns: 150 },
    );
  });

  test('LISTEN_FAILED when the port is taken', async () => {
    await using first = await createProxy(deps, { port: 0 });
    await assert.rejects(createProxy(deps, { port: first.port }), { code: 'LISTEN_FAILED' });
  });
});

suite('socks: a private network', () => {
  test('curl reaches a service by name, and nothing else', async (t) => {
    const hub = new MemoryHub();
    await using service = await rawServer((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'));
    });
    await using db = machine(hub, 'db-1', PEERS.db1, { socks: { port: 0 } });
    await using web = machine(hub, 'web-1', PEERS.web1);
    await db.network.start({ signal: new AbortController().signal });
    web.expose(service.port);
    const view = viewOf({
      ...targeting({ web: service.port }),
      members: contract().members.filter(({ name }) => name !== 'web-2'),
    });
    await Promise.all([db.network.update(view), web.network.update(view)]);
    const proxy = `socks5h://127.0.0.1:${db.network.socks?.port}`;
    const curl = (url: string): Promise<{ stdout: string }> =>
      promisify(execFile)('curl', ['--silent', '--show-error', '--max-time', '5', '--proxy', proxy, url]);
    const found = await curl('http://web.shop.internal:8080/').catch((error: NodeJS.ErrnoException) => error);
    if ('code' in found && found.code === 'ENOENT') return t.skip('curl is not installed');
    assert.equal((found as { stdout: string }).stdout, 'hello');
    for (const url of [
      'http://web.shop.internal:8081/',
      'http://db.shop.internal:5432/',
      `http://127.0.0.1:${service.port}/`,
      'http://web.other.internal:8080/',
    ]) {
      await assert.rejects(curl(url), url);
    }
  });
});
