import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { FakeAgent } from './support/fake-agent.ts';
import { Terminal } from './support/terminal.ts';

async function withNetwork(work: (terminal: Terminal, agent: FakeAgent) => Promise<void>): Promise<void> {
  using terminal = new Terminal();
  await using agent = await FakeAgent.start(terminal.home);
  const file = `version: 1\nname: shop\nmembers:\n  web-1: { node: ${agent.key.peerId}, keeper: true }\n`;
  writeFileSync(terminal.path('moat.yaml'), file);
  await terminal.run(['key', 'new']);
  assert.equal((await terminal.run(['apply', '--yes'])).exitCode, 0);
  await work(terminal, agent);
}

test('status says for each peer how its packets go, and why not directly', async () => {
  await withNetwork(async (terminal) => {
    const { stdout, exitCode } = await terminal.run(['wireguard', 'status']);
    assert.equal(exitCode, 0);
    assert.match(stdout, /✓ shop {2}moatabcdefghij up {2}kernel, port 51820, in web/);
    assert.match(stdout, /10\.77\.0\.0\/16 is taken on this machine: here the network is 100\.66\.0\.0\/16/);
    assert.match(stdout, /next key coming: waits until an owner runs moat apply/);
    assert.match(stdout, /web is not served on the interface: its target is not exposed here/);
    assert.match(stdout, /the kernel forwards none {2}FORWARDING_OFF/);
    assert.match(stdout, /✓ db-1 +10\.77\.0\.3 +direct +203\.0\.113\.9:51820 .* 1\.5 KiB \/ 12 B/);
    assert.match(stdout, /db-2 .* by relay .* yes\n +both routers choose a new port/);
    assert.match(stdout, /db-3 .* in a link \(spliced\) .* never/);
    assert.match(stdout, /phone .* device/);
    const { data } = await terminal.json(['wireguard', 'status']);
    const { networks } = data as { networks: { interface: string }[] };
    assert.deepEqual(
      networks.map((network) => network.interface),
      ['moatabcdefghij'],
    );
  });
});

test('in several networks status shows each, and up asks which one is meant', async () => {
  await withNetwork(async (terminal, agent) => {
    const file = `version: 1\nname: other\nmembers:\n  web-1: { node: ${agent.key.peerId}, keeper: true }\n`;
    writeFileSync(terminal.path('other.yaml'), file);
    assert.equal((await terminal.run(['apply', '--yes', '-f', 'other.yaml'])).exitCode, 0);
    const { stdout } = await terminal.run(['wireguard', 'status']);
    assert.match(stdout, /✓ shop {2}moatabc[^]*\n\n✓ other {2}moatabc/);
    assert.doesNotMatch((await terminal.run(['wireguard', 'status', '-n', 'other'])).stdout, /✓ shop/);
    assert.match((await terminal.run(['wireguard', 'up'])).stderr, /--network shop\n +--network other/);
    assert.match((await terminal.run(['wireguard', 'status', '-n', 'third'])).stderr, /in no network third/);
  });
});

test('up takes a name, a path or a process; down and rotate-key say what they did', async () => {
  await withNetwork(async (terminal, agent) => {
    const up = await terminal.run(['wireguard', 'up', '--netns', '4711', '--port', '51999']);
    assert.match(up.stdout, /✓ shop is on moatabcdefghij in web/);
    assert.match(up.stdout, /Peers {2}db-1, db-2, db-3, phone[\s\S]*moat run --as web-1 -- CMD/);
    await terminal.run(['wireguard', 'up', '--netns', 'box']);
    assert.deepEqual(agent.wireguardRequests, [{ netns: '/proc/4711/ns/net', port: 51_999 }, { netns: 'box' }]);
    assert.equal((await terminal.run(['wireguard', 'up', '--port', 'x'])).exitCode, 2);
    assert.equal((await terminal.run(['wireguard', 'up', '--netns', '../x'])).exitCode, 2);
    assert.match((await terminal.run(['wireguard', 'rotate-key'])).stdout, /coming[\s\S]*moat apply/);
    assert.match((await terminal.run(['wireguard', 'down'])).stdout, /the interface is gone/);
  });
});

test('netcheck says what stands between this machine and others', async () => {
  await withNetwork(async (terminal) => {
    const { stdout } = await terminal.run(['netcheck']);
    assert.match(stdout, /✓ shop {2}UDP port 51820/);
    assert.match(stdout, /keeps one port for all destinations/);
    assert.match(stdout, /198\.51\.100\.7:40001 by 12D3KooWone, 12 ms/);
    assert.match(stdout, /nothing arrived \(OBSERVE_SILENT\) by 12D3KooWtwo/);
    assert.match(stdout, /Relays {2}relay/);
  });
});
