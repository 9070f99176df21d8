import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import fc from 'fast-check';
import { gatewayHome, parseGatewayConfig } from '../src/config.ts';

const BASE = 'version: 1\ndomain: apps.example.com\npublishers: open\ntls: local\n';
const acme = (text: string): string => BASE.replace('local', `{ acme: ${text} }`);
const parse = (text: string): ReturnType<typeof parseGatewayConfig> =>
  parseGatewayConfig(text, '/etc/moat/gateway.yaml', { MOAT_HOME: '/state' });

function problems(text: string): readonly string[] {
  try {
    parse(text);
  } catch (error) {
    assert.ok(isMoatError(error, 'GATEWAY_CONFIG_INVALID'), String(error));
    return error.details['problems'] as readonly string[];
  }
  return assert.fail('was accepted');
}

test('the smallest file gets every default', () => {
  const config = parse(BASE);
  assert.equal(config.domain, 'apps.example.com');
  assert.deepEqual(config.listen.https, { host: '::', port: 443 });
  assert.deepEqual(config.listen.http, { host: '::', port: 80 });
  assert.equal(config.storePath, '/state/gateway/gateway.db');
  assert.equal(config.adminSocket, '/state/gateway/gateway.sock');
  assert.equal(config.limits.namesPerDeployment, 20);
  assert.equal(parse(BASE.replace('publishers: open\n', '')).publishers, 'invited');
  assert.equal(config.limits.requestsPerSecond, undefined);
  assert.equal(config.anchor, true);
  assert.equal(config.http2, true);
});

test('everything can be said', () => {
  const config = parse(`
version: 1
domain: Apps.Example.com.
publishers: { allow: [abcdefghijklmnopqrstuvwxyz] }
limits: { namesPerDeployment: 5, rate: 1000/s, connectionsPerClient: 200, body: 2GiB, head: 8KiB, headTime: 5s, idleTime: 1m, answerTime: 1h, stallTime: 500ms }
tls: { files: [{ certificate: tls/cert.pem, key: /keys/key.pem }] }
listen: { https: 8443, http: off, overlay: [/ip4/0.0.0.0/tcp/4410], link: "[::1]:4411" }
announce: [/dns4/apps.example.com/tcp/4410]
publicPort: 443
http2: off
anchor: false
state: ./state
store: sqlite:/var/lib/moat/gateway.db
console: { socket: /run/moat/gateway.sock }
`);
  assert.equal(config.domain, 'apps.example.com');
  assert.deepEqual(config.publishers, { allow: ['abcdefghijklmnopqrstuvwxyz'] });
  assert.deepEqual(config.tls, { files: [{ certificate: '/etc/moat/tls/cert.pem', key: '/keys/key.pem' }] });
  assert.deepEqual(config.listen.https, { host: '::', port: 8443 });
  assert.equal(config.listen.http, undefined);
  assert.equal(config.http2, false);
  assert.deepEqual(config.listen.link, { host: '::1', port: 4411 });
  assert.equal(config.limits.maxBodyBytes, 2 * 2 ** 30);
  assert.equal(config.limits.maxHeadBytes, 8_192);
  assert.deepEqual(
    [config.limits.headMs, config.limits.idleMs, config.limits.answerMs, config.limits.stallMs],
    [5_000, 60_000, 3_600_000, 500],
  );
  assert.equal(config.limits.requestsPerSecond, 1_000);
  assert.equal(config.stateDirectory, '/etc/moat/state');
  assert.equal(config.storePath, '/var/lib/moat/gateway.db');
  assert.equal(parse(`${BASE}limits: { rate: none, body: none }\n`).limits.maxBodyBytes, undefined);
  assert.equal(parse(BASE.replace('tls: local', 'tls: { local: {} }')).tls, 'local');
});

const WRONG: readonly (readonly [name: string, text: string, expected: RegExp])[] = [
  ['an unknown key', `${BASE}limit: {}\n`, /gateway\.yaml:5:1 limit: unknown key; did you mean limits\?$/],
  [
    'an unknown key within',
    `${BASE}limits:\n  connectionPerClient: 5\n`,
    /:6:3 limits\.connectionPerClient: unknown key; did you mean connectionsPerClient\?$/,
  ],
  ['a key nobody meant', `${BASE}zebra: 1\n`, /:5:1 zebra: unknown key$/],
  ['no domain', BASE.replace('domain: apps.example.com\n', ''), /:1:1 domain: missing$/],
  ['a domain that is none', BASE.replace('apps.example.com', 'http://x'), /:2:9 domain: not a domain name$/],
  ['an address as domain', BASE.replace('apps.example.com', '10.0.0.1'), /:2:9 domain: not a domain name$/],
  ['an unknown key of acme', acme('{ emal: a@b.c }'), /:4:16 tls\.acme\.emal: unknown key; did you mean email\?/],
  ['a directory over http', acme('{ directory: "http://ca.example" }'), /:4:27 tls\.acme\.directory: .*https URL/],
  ['a proof of no kind', acme('{ challenges: [dns-02] }'), /:4:29 tls\.acme\.challenges\.0: /],
  ['a proof named twice', acme('{ challenges: [dns-01, dns-01] }'), /tls\.acme\.challenges: .*twice/],
  ['half a binding', acme('{ eab: { kid: k } }'), /tls\.acme\.eab\.keyFile: /],
  ['the same authority twice', acme('{ fallback: { directory: letsencrypt } }'), /tls\.acme\.fallback: .*another/],
  ['a key of the second authority', acme('{ fallback: { kid: 1 } }'), /tls\.acme\.fallback\.kid: unknown key/],
  ['two sources', BASE.replace('local', '{ local: {}, acme: {} }'), /:4:6 tls: local, /],
  ['no source', BASE.replace('local', 'letsencrypt'), /:4:6 tls: local, .* or \{ acme/],
  ['PostgreSQL', `${BASE}store: postgres://x\n`, /store: a shared PostgreSQL is not there yet/],
  [
    'a wrong deployment id',
    BASE.replace('open', '{ allow: [x] }'),
    /:3:23 publishers\.allow\.0: a deployment id has 26 characters/,
  ],
  ['a wrong rate', `${BASE}limits: { rate: 5/m }\n`, /:5:17 limits\.rate: a rate is written like 1000\/s/],
  ['a wrong size', `${BASE}limits: { body: 5MB }\n`, /limits\.body: a size is written like/],
  ['a wrong time', `${BASE}limits: { headTime: 5 }\n`, /:5:21 limits\.headTime: /],
  ['a wrong port', `${BASE}listen: { https: 70000 }\n`, /:5:18 listen\.https: a listen address is/],
  ['a duplicate key', `${BASE}tls: local\n`, /:5:1 Map keys must be unique/],
  ['broken YAML', `${BASE}listen: {\n`, /gateway\.yaml:\d+:\d+ /],
  ['an alias', `${BASE}announce: &a []\nlisten: { overlay: *a }\n`, /aliases are not allowed/],
  ['a list', '- 1\n', /:1:1 file: /],
  ['nothing', '', /:1:1 /],
];
for (const [name, text, expected] of WRONG) {
  test(`${name} is refused with its place`, () => {
    const lines = problems(text);
    assert.ok(
      lines.some((line) => expected.test(line)),
      lines.join('\n'),
    );
  });
}

test('problems come in the order of the file', () => {
  const lines = problems('version: 2\ndomain: 5\nfoo: 1\npublishers: open\ntls: local\n');
  assert.deepEqual(
    lines.map((line) => Number(line.split(':')[1])),
    [1, 2, 3],
  );
});

test('any text is a configuration or a coded refusal', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json().map((json) => `version: 1\nlimits: ${json}\n`),
      ),
      (text) => {
        try {
          parse(text);
        } catch (error) {
          assert.ok(isMoatError(error, 'GATEWAY_CONFIG_INVALID'), String(error));
        }
      },
    ),
  );
});

test('an authority by name, by URL, and a second one', () => {
  const letsencrypt = {
    directory: 'https://acme-v02.api.letsencrypt.org/directory',
    caFile: undefined,
    eab: undefined,
  };
  assert.deepEqual(parse(acme('{ email: ops@example.com }')).tls, {
    acme: {
      challenges: undefined,
      authorities: [{ ...letsencrypt, email: 'ops@example.com', profile: undefined }],
    },
  });
  const text =
    '{ directory: "https://ca.internal/dir", ca: root.pem, eab: { kid: k, keyFile: hmac }, challenges: [dns-01, http-01], fallback: { profile: shortlived } }';
  assert.deepEqual(parse(acme(text)).tls, {
    acme: {
      challenges: ['dns-01', 'http-01'],
      authorities: [
        {
          directory: 'https://ca.internal/dir',
          caFile: '/etc/moat/root.pem',
          email: undefined,
          eab: { kid: 'k', keyFile: '/etc/moat/hmac' },
          profile: undefined,
        },
        { ...letsencrypt, email: undefined, profile: 'shortlived' },
      ],
    },
  });
});

test('state lies where the platform keeps it', () => {
  assert.equal(gatewayHome({ MOAT_HOME: '/m' }), '/m/gateway');
  assert.equal(gatewayHome({ STATE_DIRECTORY: '/var/lib/moat' }), '/var/lib/moat/gateway');
  assert.equal(gatewayHome({ XDG_STATE_HOME: '/x', HOME: '/h' }), '/x/moat/gateway');
});

test('a problem names its place once, and the key it is in', () => {
  assert.deepEqual(problems(`${BASE}\tx: 1\n`)[0]?.match(/line|column/), null);
  assert.match(problems(BASE.replace('tls: local', 'tls: { local: true }')).join(), /:4:15 tls\.local: /);
});
