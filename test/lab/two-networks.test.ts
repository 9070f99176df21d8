/** One machine in two networks that have the same addresses: both are reached by name, and nothing crosses from one to the other. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { createAgentClient, type AgentClient } from '@moat/admin-api';
import { stringify } from 'yaml';
import { Machine, eventually, type Daemon } from '../e2e/machine.ts';
import { Internet, labSkip } from './internet.ts';
import { PacketProbe } from './packet-probe.ts';
import { pictured } from './picture.ts';
import { DIRECT_MS } from './tunnel-world.ts';

const RANGE = '10.77.0.0/16';
const [PORT, TARGET] = [80, 9007];
const NETWORKS = ['red', 'blue'] as const;

interface Host {
  readonly machine: Machine;
  readonly client: AgentClient;
  readonly daemon: Daemon;
  readonly probe: PacketProbe;
}

suite('two networks with the same addresses on one machine', { skip: labSkip('wg', 'wireguard-go', 'tcpdump') }, () => {
  const internet = new Internet();
  const hosts = new Map<string, Host>();

  before(async () => {
    await boot('both', 9);
    for (const [i, network] of NETWORKS.entries()) {
      const { machine, client, probe } = await boot(network, i + 10);
      await probe.serve('tcp', '127.0.0.1', TARGET, network);
      await machine.ok(['key', 'new', '--plain']);
      const { peerId } = await client.status();
      const file = {
        version: 1,
        name: network,
        network: { ipv4: RANGE, plane: 'auto' },
        anchors: [],
        members: { [network]: { node: peerId, keeper: true }, both: {} },
        services: { web: { on: [network], port: PORT, target: `127.0.0.1:${TARGET}` } },
        access: [{ from: ['both'], to: ['web'] }],
      };
      await machine.write('moat.yaml', stringify(file));
      await machine.ok(['apply', '--yes']);
      await machine.ok(['node', 'expose', String(TARGET), '--to', network]);
      const { json } = await machine.ok(['invite', 'both']);
      await host('both').client.join({ token: String(json['token']), waitMs: 20_000 });
      await client.wireguardUp(network, {});
      await host('both').client.wireguardUp(network, {});
    }
  });

  after(async () => {
    for (const network of NETWORKS) {
      for (const name of ['both', network])
        await hosts
          .get(name)
          ?.client.wireguardDown(network)
          .catch(() => undefined);
    }
    for (const { machine } of hosts.values()) await machine[Symbol.asyncDispose]();
    internet[Symbol.dispose]();
  });

  test('each name leads to its own network', () =>
    pictured(internet, 'names', async () => {
      const found = new Map<string, string>();
      for (const network of NETWORKS) {
        const both = host('both');
        const status = await both.client.wireguard(network);
        assert.equal(status.state, 'up', JSON.stringify(status.error));
        const address = await eventually(
          'its name has an address of the interface',
          async () => {
            const got = await addressOf(`web.${network}.internal`);
            return got.startsWith('127.') ? undefined : got;
          },
          DIRECT_MS,
        );
        found.set(network, address);
        const heard = await eventually('it answers', async () => {
          const answer = await both.probe.ask({ kind: 'tcp', host: address, port: PORT, waitMs: 1000 });
          return answer === 'silence' ? undefined : answer;
        });
        assert.equal(heard, network);
        await eventually(
          'packets go directly',
          async () => {
            await both.probe.ask({ kind: 'tcp', host: address, port: PORT, waitMs: 1000 });
            return (await host(network).client.wireguard(network)).peers[0]?.path === 'direct';
          },
          DIRECT_MS,
        );
      }
      assert.notEqual(found.get('red'), found.get('blue'));
      const remapped = await Promise.all(
        NETWORKS.map(async (each) => (await host('both').client.wireguard(each)).remap),
      );
      assert.equal(remapped.filter((each) => each !== null).length, 1, 'one of them has another range here');
    }));

  test('a member of one network reaches nothing of the other through the machine that is in both', () =>
    pictured(internet, 'crossing', async () => {
      const { interface: device, peers } = await host('red').client.wireguard('red');
      const [peer] = peers;
      assert.ok(device && peer);
      const blue = await addressOf('web.blue.internal');
      // her own rules are gone, and nobody puts them back
      await host('red').daemon.kill('SIGKILL');
      await internet.disarm('red');
      internet.read('red', 'wg', 'set', device, 'peer', peer.key, 'allowed-ips', `0.0.0.0/0`);
      internet.ip('red', [`route replace ${blue}/32 dev ${device}`]);
      internet.read('both', 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
      const arrived = await internet.capture('both', `dst host ${blue} and tcp port ${PORT}`);
      const crossed = await internet.capture('blue', `tcp port ${PORT} or tcp port ${TARGET}`);
      const heard = await host('red').probe.ask({ kind: 'tcp', host: blue, port: PORT, waitMs: 1500 });
      assert.ok(!['red', 'blue'].includes(heard), heard);
      assert.ok((await arrived.stop()).length > 0, 'it came as far as the machine that is in both');
      assert.deepEqual(await crossed.stop(), []);
    }));

  function host(name: string): Host {
    const found = hosts.get(name);
    if (found === undefined) throw new Error(`no machine ${name}`);
    return found;
  }

  async function boot(name: string, address: number): Promise<Host> {
    const ip = internet.addHost(name, { address });
    const namespace = internet.namespace(name);
    const machine = await Machine.create(name, { namespace });
    const daemon = await machine.startAgent(['--no-mdns', '--listen', `/ip4/${ip}/tcp/4410`, '--link-port', '4411']);
    const client = createAgentClient({ socketPath: machine.path('state', 'agent.sock') });
    const made = { machine, client, daemon, probe: await PacketProbe.start(namespace) };
    hosts.set(name, made);
    return made;
  }

  /** As programs of the machine in both find it. */
  async function addressOf(name: string): Promise<string> {
    const { dns } = await host('both').client.status();
    assert.ok(dns);
    return internet.read('both', 'dig', `@${dns.host}`, '-p', String(dns.port), '+short', '+tries=1', name).trim();
  }
});
