/** Which clients may come, by their address. */
import { BlockList, isIPv6 } from 'node:net';
import type { PublishRules } from '@moat/contract';

type From = NonNullable<PublishRules['from']>;

/** Answers whether an address may come; what `deny` names is out, and with `allow` what that does not name. */
export function compileAddressRule({ allow, deny }: From): (address: string) => boolean {
  const allowed = allow && listOf(allow);
  const denied = deny && listOf(deny);
  return (address) => {
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (denied?.check(address, family) === true) return false;
    return allowed === undefined || allowed.check(address, family);
  };
}

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', length] = range.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (length === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(length), family);
  }
  return list;
}
