/**
 * A certificate replaced under load, at a gateway with workers: whoever comes next gets the new one, no request fails and
 * no WebSocket notices. The certificates are files here; those of an authority go the same way from where they are obtained.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { WebSocket } from 'ws';
import { systemClock } from '@moat/core';
import { openLocalAuthority, type LocalAuthority } from '../../gateway/src/certificates/local-ca.ts';
import { eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const HOST = 'shop.localhost';
/** How often the certificate is replaced. */
const REPLACEMENTS = 2;

let folder: string;
let authority: LocalAuthority;
let web: WebService;
let world: World;

/** Writes the next pair, the key first as a renewal tool may. */
async function replace(): Promise<void> {
  const pairs = await Promise.all(['localhost', HOST].map((host) => authority.certificateFor(host)));
  for (const [index, pair] of pairs.entries()) {
    await writeFile(join(folder, `${index}.key`), pair?.key ?? '');
    await writeFile(join(folder, `${index}.pem`), pair?.certificate ?? '');
  }
}

function serialOf(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({ host: '127.0.0.1', port, servername: HOST, ca: authority.certificate }, () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'moat-renewal-'));
  authority = await openLocalAuthority({ clock: systemClock }, { directory: folder, domain: 'localhost' });
  await replace();
  web = await startWebService('shop');
  world = new World({ caFile: authority.certificatePath });
  const files = [0, 1].map((index) => ({
    certificate: join(folder, `${index}.pem`),
    key: join(folder, `${index}.key`),
  }));
  await world.startGateway('open', { workers: 2, tls: { files } });
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true } },
    services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
    publish: { shop: 'web' },
  });
  await world.machine('owner').ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
  await eventually('the shop answers', async () => (await world.gateway.browser.fetch(HOST)).status === 200);
});

after(async () => {
  await world?.[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('new handshakes get the new certificate; requests and WebSockets go on', async () => {
  const { port, browser } = world.gateway;
  const sockets = Array.from({ length: 8 }, () => {
    const options = { ca: authority.certificate, servername: HOST, headers: { host: HOST } };
    return new WebSocket(`wss://127.0.0.1:${port}/ws`, options);
  });
  await Promise.all(sockets.map((socket) => once(socket, 'open')));
  const stopping = new AbortController();
  let answered = 0;
  const failed: unknown[] = [];
  const clients = Array.from({ length: 4 }, async () => {
    while (!stopping.signal.aborted) {
      try {
        const { status } = await browser.fetch(HOST);
        if (status !== 200) failed.push(status);
        answered += 1;
      } catch (error) {
        failed.push(error);
      }
    }
  });
  for (let round = 0; round < REPLACEMENTS; round++) {
    const before = await serialOf(port);
    await replace();
    await eventually('the new certificate', async () => {
      // At each worker: a few handshakes reach both.
      const serials = await Promise.all(Array.from({ length: 6 }, () => serialOf(port)));
      return serials.every((serial) => serial !== before);
    });
  }
  stopping.abort();
  await Promise.all(clients);
  assert.deepEqual(failed, []);
  assert.ok(answered > 20, `${answered} requests`);
  for (const [index, socket] of sockets.entries()) {
    socket.send(`still ${index}`);
    const [data] = (await once(socket, 'message')) as [Buffer];
    assert.equal(data.toString(), `still ${index}`);
    socket.terminate();
  }
});
