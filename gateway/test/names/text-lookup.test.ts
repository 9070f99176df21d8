/** Texts as the resolvers of gateway.yaml say them; here the name servers of another zone. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { silentLogger, systemClock } from '@moat/core';
import { DnsServer } from '../../src/dns/server.ts';
import { createTextLookup } from '../../src/names/text-lookup.ts';
import { zone } from '../dns/zone.ts';

test('finds texts whole, knows what is not there, and fails where nobody says', async () => {
  const texts = new Map([['_moat.apps.example.com', ['moat-deployment=x', 'y'.repeat(300), 'z'.repeat(2_000)]]]);
  const places = [{ host: '127.0.0.1', port: 0 }];
  await using server = new DnsServer({ clock: systemClock, logger: silentLogger, zone: zone({ texts }) }, places);
  await server.start({ signal: AbortSignal.timeout(5_000) });
  const lookup = createTextLookup(() => [`127.0.0.1:${server.ports[0]}`]);
  const signal = AbortSignal.timeout(5_000);
  const found = await lookup('_moat.apps.example.com', signal);
  assert.deepEqual(
    found.map((text) => text.length),
    [17, 300, 512],
    'over TCP, as it is more than a datagram',
  );
  assert.deepEqual(await lookup('_moat.nothing.apps.example.com', signal), []);
  assert.deepEqual(await lookup('shop.apps.example.com', signal), []);
  await assert.rejects(lookup('_moat.elsewhere.example', signal), { code: 'EREFUSED' });
});

test('ends with its signal where a name server is silent', async () => {
  const silent = createSocket('udp4').bind(0, '127.0.0.1');
  await once(silent, 'listening');
  const lookup = createTextLookup(() => [`127.0.0.1:${silent.address().port}`]);
  const stop = new AbortController();
  silent.once('message', () => stop.abort());
  await assert.rejects(lookup('_moat.slow.example', stop.signal), { code: 'ECANCELLED' });
  silent.close();
});
