/** Contracts for the lab of packet rules: all that is not about packets is the least there may be. */
import { createHash } from 'node:crypto';
import type { Contract, Member } from '@moat/contract';
import { peerIdFromPublicKey } from '@moat/core';

export const DEPLOYMENT = 'abcdefghijklmnopqrstuvwxyz';

function bytesOf(text: string): Uint8Array {
  return createHash('sha256').update(text).digest();
}

export function member(name: string, host: number, change: Partial<Member> = {}): Member {
  return {
    name,
    ...(change.via === undefined ? { node: peerIdFromPublicKey(bytesOf(`node ${name}`)) } : {}),
    wireguard: Buffer.from(bytesOf(name)).toString('base64'),
    ipv4: `10.77.0.${host}`,
    tags: [],
    ...change,
  };
}

export function contractOf(change: Partial<Contract>): Contract {
  return {
    type: 'moat/contract/1',
    deployment: DEPLOYMENT,
    name: 'shop',
    version: 0,
    owners: { threshold: 1, keys: [] },
    anchors: [],
    network: { ipv4: '10.77.0.0/16', plane: 'wireguard' },
    members: [],
    services: [],
    access: [],
    publish: [],
    state: 'active',
    ...change,
  };
}

export const service = (
  name: string,
  on: string,
  port: number,
  target = `127.0.0.1:${port}`,
  protocol: 'tcp' | 'udp' = 'tcp',
): Contract['services'][number] => ({ name, on: [on], port, target, protocol });
