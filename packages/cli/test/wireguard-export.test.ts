/** A device's profile: what is on it, that it is in force, and that its key is nowhere else. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createClaim, witnessClaim, type Contract, type MemberClaim } from '@moat/contract';
import { createWireguardKey, parseWireguardKey } from '@moat/identity';
import { drawQr } from '../src/output/qr.ts';
import { FakeAgent } from './support/fake-agent.ts';
import { Terminal } from './support/terminal.ts';

const ENDPOINT = 'web.example.com:51820';

interface Home extends AsyncDisposable {
  readonly terminal: Terminal;
  readonly agent: FakeAgent;
  readonly contract: () => Contract;
  readonly write: (file: { readonly egress?: string; readonly network?: string }) => Promise<void>;
}

async function openHome(): Promise<Home> {
  const terminal = new Terminal();
  const agent = await FakeAgent.start(terminal.home);
  await terminal.run(['key', 'new']);
  const home: Home = {
    terminal,
    agent,
    contract: () => {
      const [held] = agent.held.values();
      assert.ok(held);
      return held.contract;
    },
    write: async ({ egress = '', network = '{ ipv4: 10.77.0.0/16 }' }) => {
      writeFileSync(
        terminal.path('moat.yaml'),
        `version: 1
name: shop
network: ${network}
members:
  web-1: { node: ${agent.key.peerId}, keeper: true, ipv4: 10.77.0.2 }
  db-1: { ipv4: 10.77.0.3 }
  phone: { via: web-1, ipv4: 10.77.0.9 }
services:
  web: { on: web-1, port: 80, target: 127.0.0.1:3000 }
  other: { on: web-1, port: 81 }
access:
  - { from: phone, to: web }
${egress}`,
      );
      const applied = await terminal.json(['apply', '--yes']);
      assert.equal(applied.exitCode, 0, applied.stderr);
    },
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]();
      terminal[Symbol.dispose]();
    },
  };
  await home.write({});
  return home;
}

/** What the agent of web-1 told a keeper of its WireGuard key. */
function keyClaim({ agent, contract }: Home, wireguard: string): MemberClaim {
  const details = { nonce: 'AAAAAAAAAAAAAAAAAAAAAA', member: 'web-1', wireguard };
  const { deployment } = contract();
  const claim = createClaim({ deployment, details, nodeSigner: agent.key.signer, inviteSigner: null });
  return { ...witnessClaim(claim, Date.now(), agent.key.signer), details };
}

test('a profile is printed once, in force, and kept nowhere', async () => {
  await using home = await openHome();
  const { terminal, agent } = home;
  const web = createWireguardKey().publicKey;
  const early = await terminal.run(['wireguard', 'export', 'phone', '--endpoint', ENDPOINT]);
  assert.equal(early.exitCode, 4, early.stderr);
  assert.match(early.stderr, /web-1 has no WireGuard key yet/);
  agent.claims = [keyClaim(home, web)];

  const first = await terminal.run(['wireguard', 'export', 'phone', '--endpoint', ENDPOINT]);
  assert.equal(first.exitCode, 0, first.stderr);
  const secret = /^PrivateKey = (.+)$/m.exec(first.stdout)?.[1] ?? '';
  assert.equal(
    first.stdout,
    `[Interface]
PrivateKey = ${secret}
Address = 10.77.0.9/32

[Peer]
# web-1
PublicKey = ${web}
AllowedIPs = 10.77.0.2/32
Endpoint = ${ENDPOINT}
PersistentKeepalive = 25
`,
  );
  const device = (): string | undefined => home.contract().members.find(({ name }) => name === 'phone')?.wireguard;
  assert.equal(device(), parseWireguardKey(secret).publicKey);
  for (const file of readdirSync(terminal.home, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue;
    assert.ok(!readFileSync(join(file.parentPath, file.name), 'latin1').includes(secret), `in ${file.name}`);
  }
  assert.ok(!first.stderr.includes(secret));

  assert.doesNotMatch(first.stderr, /works no longer/);
  const again = await terminal.run(['wireguard', 'export', 'phone', '--endpoint', ENDPOINT]);
  assert.match(again.stderr, /profile made before for phone works no longer/);
  const second = await terminal.json(['wireguard', 'export', 'phone', '--endpoint', ENDPOINT]);
  assert.equal(second.data['replaced'], true);
  assert.equal(device(), second.data['publicKey']);
  assert.notEqual(second.data['publicKey'], parseWireguardKey(secret).publicKey);

  // What is applied from the file later keeps the key; taking the member out revokes it.
  await home.write({ egress: 'egress:\n  - { from: phone, via: web-1 }\n' });
  assert.equal(device(), second.data['publicKey']);
  const everywhere = await terminal.json(['wireguard', 'export', 'phone', '--endpoint', ENDPOINT]);
  assert.deepEqual(everywhere.data['allowedIps'], ['0.0.0.0/0', '::/0']);
  const drawn = await terminal.run(['wireguard', 'export', 'phone', '--endpoint', ENDPOINT, '--qr']);
  assert.doesNotMatch(drawn.stdout, /PrivateKey/);
  assert.match(drawn.stdout, /▀|▄/);
});

test('a profile that could not work is not made', async () => {
  await using home = await openHome();
  const { terminal, agent } = home;
  agent.claims = [keyClaim(home, createWireguardKey().publicKey)];
  const refused = async (words: readonly string[], exitCode: number, reason: RegExp): Promise<void> => {
    const { version } = home.contract();
    const result = await terminal.run(['wireguard', 'export', ...words]);
    assert.equal(result.exitCode, exitCode, result.stderr);
    assert.match(result.stderr, reason);
    assert.equal(home.contract().version, version, 'nothing was signed');
  };
  for (const words of [['phone'], ['phone', '--replace']]) {
    const invited = await terminal.run(['invite', ...words]);
    assert.equal(invited.exitCode, 6, invited.stderr);
    assert.match(invited.stderr, /is a device: no machine takes its place/);
  }
  await refused(['nobody', '--endpoint', ENDPOINT], 5, /no member nobody/);
  await refused(['web-1', '--endpoint', ENDPOINT], 4, /a place for a machine[^]*DEVICE_UNFIT/);
  await refused(['web-1', '--via', 'db-1', '--endpoint', ENDPOINT], 4, /only a vacant one/);
  await refused(['phone', '--via', 'db-1', '--endpoint', ENDPOINT], 4, /db-1 has no WireGuard key/);
  await refused(['phone', '--endpoint', 'web.example.com'], 2, /not HOST:PORT/);
  await refused(['phone'], 2, /DEVICE_ENDPOINT_NEEDED/);
  await home.write({ network: '{ ipv4: 10.77.0.0/16, postQuantum: require }' });
  await refused(['phone', '--endpoint', ENDPOINT], 4, /post-quantum[^]*DEVICE_UNFIT/);

  await home.write({});
  const taken = await terminal.json(['wireguard', 'export', 'db-1', '--via', 'web-1', '--endpoint', ENDPOINT]);
  assert.equal(taken.exitCode, 0, taken.stderr);
  assert.deepEqual([taken.data['allowedIps'], taken.data['replaced']], [[], false]);
  assert.equal(home.contract().members.find(({ name }) => name === 'db-1')?.via, 'web-1');
});

test('where the device finds the machine that makes its profile is what anchors and the router say', async () => {
  await using home = await openHome();
  const { terminal, agent } = home;
  agent.claims = [keyClaim(home, createWireguardKey().publicKey)];
  const endpoint = async (seen: FakeAgent['netcheck']): Promise<unknown> => {
    agent.netcheck = seen;
    const made = await terminal.json(['wireguard', 'export', 'phone']);
    return made.exitCode === 0 ? made.data['endpoint'] : made.stderr;
  };
  assert.equal(await endpoint({ nat: 'none' }), '198.51.100.7:40001');
  assert.equal(await endpoint({ nat: 'edm', mapped: '198.51.100.7:51820', mappedBy: 'upnp' }), '198.51.100.7:51820');
  // A port that one router keeps for all destinations lets nobody in who was not called.
  assert.match(String(await endpoint({ nat: 'eim' })), /DEVICE_ENDPOINT_NEEDED/);
  assert.match(String(await endpoint({ nat: 'none', anchors: [] })), /DEVICE_ENDPOINT_NEEDED/);
});

test('a QR code is square, with light around it', () => {
  const lines = drawQr('hello')
    .split('\n')
    .map((line) => line.replaceAll(/\u001B\[[\d;]+m/g, ''));
  // Version 1: 21 modules and 4 light ones on each side.
  assert.deepEqual(new Set(lines.map((line) => line.length)), new Set([29]));
  assert.equal(lines.length, 15);
  assert.equal(lines[0], '█'.repeat(29));
  assert.equal(lines[2]?.slice(0, 12), `████ ▄▄▄▄▄ █`);
  assert.throws(() => drawQr('x'.repeat(3000)), { code: 'QR_TOO_LONG' });
});
