/** Program of `TunnelsProcess`: the port `Tunnels` of this network namespace, called by messages. */
import { errorCode } from '@moat/core';
import { createMachineTunnels } from '@moat/wireguard';

const [directory = ''] = process.argv.slice(2);
const tunnels = await createMachineTunnels({ directory });
process.on('message', (message) => {
  const { id, call, args } = message as { id: number; call: keyof typeof tunnels; args: unknown[] };
  const method = tunnels[call] as unknown as (...all: unknown[]) => Promise<unknown>;
  method.apply(tunnels, args).then(
    (value) => process.send?.({ id, value }),
    (error: unknown) => process.send?.({ id, code: errorCode(error), message: String(error) }),
  );
});
process.on('disconnect', () => process.exit());
process.send?.({ id: 0 });
