import { linkCompliance } from './compliance.ts';
import { LOOPBACK, createMachines, linkMachines } from './linked.ts';

linkCompliance('over a TLS socket', async () => linkMachines(await createMachines({ bob: { listen: LOOPBACK } })), {
  transferBytes: 256 * 2 ** 20,
});
linkCompliance('over an overlay stream', async () => linkMachines(await createMachines()), {
  transferBytes: 32 * 2 ** 20,
});
linkCompliance('over a relayed overlay stream', async () => linkMachines(await createMachines({ relayed: true })), {
  transferBytes: 2 ** 20,
});
