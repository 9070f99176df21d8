/** `dns:` and `names:` of gateway.yaml. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGatewayConfig, type GatewayConfig } from '../../src/config.ts';
import { RESERVED } from '../../src/names/reserved.ts';

function parse(...lines: readonly string[]): GatewayConfig {
  return parseGatewayConfig(
    ['version: 1', 'domain: apps.example.com', 'tls: local', ...lines].join('\n'),
    'gateway.yaml',
  );
}

test('without it the system is asked, and others serve the zone', () => {
  assert.deepEqual(parse().dns, { resolvers: [], server: undefined });
  assert.deepEqual(parse().reservedNames, RESERVED);
});

test('name servers, addresses and texts', () => {
  const { dns, reservedNames } = parse(
    'dns:',
    '  resolvers: [192.0.2.53, "[2001:db8::53]:5353"]',
    '  listen: 127.0.0.1:5300',
    '  addresses: [192.0.2.1, 2001:db8::1]',
    '  peers: [192.0.2.2, "[2001:db8::2]:8443"]',
    '  txt: { "@": v=spf1 -all, _psl: [a, b] }',
    'names: { reserved: [bank] }',
  );
  assert.deepEqual(dns.resolvers, ['192.0.2.53', '[2001:db8::53]:5353']);
  assert.deepEqual(dns.server, {
    listen: [{ host: '127.0.0.1', port: 5300 }],
    addresses: ['192.0.2.1', '2001:db8::1'],
    peers: [
      { host: '192.0.2.2', port: 443 },
      { host: '2001:db8::2', port: 8443 },
    ],
    ns: ['ns.apps.example.com'],
    txt: new Map([
      ['apps.example.com', ['v=spf1 -all']],
      ['_psl.apps.example.com', ['a', 'b']],
    ]),
  });
  assert.deepEqual(reservedNames, ['bank']);
});

test('what is wrong is named with its place', () => {
  const rows = [
    [['dns: { listen: 53 }'], /4:6 dns\.addresses: a name server needs addresses/],
    [['dns: { listen: 53, adresses: 192.0.2.1 }'], /dns\.adresses: unknown key; did you mean addresses\?/],
    [['dns: { resolvers: [dns.example] }'], /4:20 dns\.resolvers\.0: an address is ADDRESS/],
    [['dns: { listen: 53, addresses: 192.0.2.1:53 }'], /dns\.addresses: not an IP address/],
    [['dns: { txt: { "..": x } }'], /dns\.txt/],
    [['names: { reserved: [a.b] }'], /names\.reserved\.0: a name is one label/],
  ] as const;
  for (const [lines, pattern] of rows)
    assert.throws(() => parse(...lines), { code: 'GATEWAY_CONFIG_INVALID', message: pattern });
});
