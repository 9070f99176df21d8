/** A member at home that does nothing: one keeper in another home, one anchor between them, one link that stands. */
import { World } from '../e2e/world.ts';
import { eventually } from '../e2e/machine.ts';
import { Internet } from './internet.ts';
import type { Flow } from './wire.ts';

const HOMES: Readonly<Record<string, string>> = { gateway: 'hub', owner: 'owner', app: 'app' };
const ECHO = `require('node:net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(7000, '127.0.0.1')`;

export class IdleWorld implements AsyncDisposable {
  readonly internet: Internet = new Internet();
  readonly world: World = new World({
    gatewayAddress: '203.0.113.1',
    namespaceOf: (machine) => this.internet.namespace(HOMES[machine] ?? machine),
  });

  /** Resolves once the link between the two homes stands, spliced by the anchor. */
  async start(): Promise<void> {
    this.internet.addHost('hub', { address: 1 });
    this.internet.addHost('owner', { nat: 'eim' });
    this.internet.addHost('app', { nat: 'eim' });
    await this.world.startGateway();
    await this.world.grow({
      name: 'shop',
      members: { owner: { keeper: true, inbound: false }, app: { inbound: false } },
      services: { db: { on: ['owner'], port: 5432, target: '127.0.0.1:7000' } },
      access: [{ from: ['app'], to: ['db'] }],
    });
    const owner = this.world.machine('owner');
    await owner.ok(['node', 'expose', '7000', '--to', 'shop']);
    owner.program(process.execPath, ['-e', ECHO]);
    await eventually('a link stands', async () => (await this.path()) === 'spliced', 40_000);
  }

  /** The path of the member's link now. */
  async path(): Promise<string | undefined> {
    return (await this.world.client('app').ping('shop', { target: 'db', timeoutMs: 8_000 })).path;
  }

  /** Bytes on the member's wire so far, by the socket of the anchor that they go to or come from. */
  bytes(): ReadonlyMap<string, number> {
    const { up, down } = this.internet.wire('app').passed();
    const sums = new Map<string, number>();
    const add = (socket: string, { bytes }: Flow): unknown => sums.set(socket, (sums.get(socket) ?? 0) + bytes);
    for (const flow of up) add(flow.to, flow);
    for (const flow of down) add(flow.from, flow);
    return sums;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
    this.internet[Symbol.dispose]();
  }
}
