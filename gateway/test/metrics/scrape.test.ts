/** What a scraper and a load balancer see of a running gateway, and that the reference says so too. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { request, type IncomingMessage, type RequestOptions } from 'node:http';
import { test } from 'node:test';
import { createGatewayClient } from '@moat/admin-api';
import { canShareListeners } from '../../src/workers/shares.ts';
import { answering } from '../member.ts';
import { Shop } from '../shop.ts';
import { Node, gatewayPeer, get, home, started } from '../whole-gateway.ts';

async function ask(options: RequestOptions): Promise<{ status: number; text: string }> {
  const sent = request({ agent: false, ...options });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
  return { status: response.statusCode ?? 0, text };
}

/** The value of a sample, by its name and labels as they stand in the text. */
function valueOf(text: string, sample: string): number {
  const line = text.split('\n').find((each) => each.startsWith(`${sample} `));
  return Number(line?.slice(sample.length) ?? assert.fail(`no ${sample} in\n${text}`));
}

const workers = canShareListeners() ? 2 : 1;

test('what happened is in the metrics, of all workers together; health is told on both listeners', async () => {
  await using place = await home(`workers: ${workers}\nmetrics: { listen: "127.0.0.1:0" }\n`);
  const { config } = place;
  await using node = new Node(answering('hello'));
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(config) });
  const gateway = await started(config);
  const { addresses } = gateway;
  const port = addresses.metricsPort ?? assert.fail('no metrics port');
  const scrape = async (): Promise<string> => (await ask({ port, path: '/metrics' })).text;
  const socketPath = addresses.adminSocket;
  const client = createGatewayClient({ socketPath });
  assert.equal((await node.show(addresses, shop.bundle(shop.first))).ok, true);
  for (let i = 0; i < 8; i++) assert.equal((await get(addresses, 'shop.localhost')).status, 200);
  assert.equal((await get(addresses, 'localhost', '/nothing')).status, 404);
  await assert.rejects(get(addresses, 'nobody.localhost'));
  await client.suspend({ subject: 'other', status: 451 });
  const text = await scrape();
  assert.equal(valueOf(text, 'moat_http_requests_total{code="2xx",protocol="1.1"}'), 8);
  assert.equal(valueOf(text, 'moat_http_requests_total{code="4xx",protocol="1.1"}'), 1);
  assert.equal(valueOf(text, 'moat_http_request_errors_total{code="PATH_UNKNOWN"}'), 1);
  assert.equal(valueOf(text, 'moat_http_request_duration_seconds_count'), 9);
  assert.equal(valueOf(text, 'moat_http_request_duration_seconds_bucket{le="+Inf"}'), 9);
  assert.ok(valueOf(text, 'moat_http_response_bytes_total') >= 8 * 'hello'.length);
  assert.equal(valueOf(text, 'moat_tls_handshakes_total{result="done"}'), 9);
  assert.equal(valueOf(text, 'moat_tls_handshakes_total{result="failed"}'), 1);
  assert.equal(valueOf(text, 'moat_connections_total{result="accepted"}'), 10);
  assert.equal(valueOf(text, 'moat_names{state="live"}'), 1);
  assert.equal(valueOf(text, 'moat_links'), workers === 1 ? 1 : valueOf(text, 'moat_links'));
  assert.equal(valueOf(text, 'moat_publications_total{code="OK"}'), 1);
  assert.ok(valueOf(text, 'moat_audit_lines') >= 3);
  assert.equal(valueOf(text, 'moat_ready'), 1);
  assert.ok(valueOf(text, 'process_resident_memory_bytes') > 0);
  assert.ok(!text.includes('shop.localhost'), 'no name is a label');
  assert.deepEqual((await ask({ socketPath, path: '/metrics' })).status, 200);
  for (const path of ['/healthz', '/readyz']) {
    assert.equal((await ask({ port, path })).status, 200);
    assert.equal((await ask({ socketPath, path })).status, 200);
  }
  assert.equal((await ask({ port, path: '/v1/status' })).status, 404, 'the API is not there');
  assert.equal((await ask({ port, path: '/metrics', method: 'POST' })).status, 405);

  const reference = readFileSync(new URL('../../../docs/reference/metrics.md', import.meta.url), 'utf8');
  const named = [...text.matchAll(/^# TYPE (moat_\w+) (\w+)$/gm)].map(([, name, type]) => `| \`${name}\` | ${type} |`);
  const rows = reference.replaceAll(/ +/g, ' ');
  assert.deepEqual(
    named.filter((row) => !rows.includes(row)),
    [],
    'docs/reference/metrics.md has every metric',
  );
  assert.equal(named.length, [...rows.matchAll(/^\| `moat_/gm)].length, 'and no other');

  const draining = gateway.drain(1_000);
  assert.equal((await ask({ port, path: '/readyz' })).status, 503);
  assert.equal((await ask({ port, path: '/healthz' })).status, 200);
  await draining;
  await gateway.stop();
  await assert.rejects(ask({ port, path: '/healthz' }));
});
