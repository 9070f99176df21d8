/** Contracts for the lab of packet rules: all that is not about packets is the least there may be. */
import type { Contract } from '@moat/contract';

export {
  DEPLOYMENT,
  planeContract as contractOf,
  planeMember as member,
} from '../../packages/network/test/plane/plane-contracts.ts';

export const service = (
  name: string,
  on: string,
  port: number,
  target = `127.0.0.1:${port}`,
  protocol: 'tcp' | 'udp' = 'tcp',
): Contract['services'][number] => ({ name, on: [on], port, target, protocol });
