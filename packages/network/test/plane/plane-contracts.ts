/** Contracts of a WireGuard plane for tests, fixed and arbitrary. */
import { createHash } from 'node:crypto';
import type { Contract, Egress, Grant, Member, Service } from '@moat/contract';
import { peerIdFromPublicKey } from '@moat/core';
import fc from 'fast-check';

export const NOW: number = Date.parse('2026-11-21T12:00:00Z');
export const DEPLOYMENT = 'abcdefghijklmnopqrstuvwxyz';

export function planeContract(change: Partial<Contract>): Contract {
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

export function keyOf(name: string): string {
  return createHash('sha256').update(name).digest('base64');
}

/** A pinned member with a key, or with `via` a device. */
export function planeMember(name: string, host: number, change: Partial<Member> = {}): Member {
  const node = peerIdFromPublicKey(createHash('sha256').update(`node ${name}`).digest());
  return {
    name,
    ...(change.via === undefined ? { node } : {}),
    wireguard: keyOf(name),
    ipv4: `10.77.${host >> 8}.${host & 255}`,
    tags: [],
    ...change,
  };
}

export function planeService(name: string, on: string, port: number, change: Partial<Service> = {}): Service {
  return { name, on: [on], port, target: `127.0.0.1:${port}`, protocol: 'tcp', ...change };
}

const OVER = '2026-11-21T11:00:00Z';
const LATER = '2026-11-21T13:00:00Z';
const SELECTORS = ['self', 'b', 'c', 'd', 'phone', 'pad', 'tag:x', 'tag:y', 'tag:z'];
const TARGETS = [
  '127.0.0.1:3001',
  '127.0.0.1:3002',
  '127.0.0.9:3003',
  'localhost:3004',
  '192.168.1.9:80',
  '[fd99::7]:80',
  '[::1]:3005',
  'db.lan:80',
];

const someOf = <T>(values: readonly T[], least = 1): fc.Arbitrary<T[]> =>
  fc.subarray([...values], { minLength: least });
const expiry = fc.option(fc.constantFrom(OVER, LATER), { nil: undefined, freq: 4 });
const withEnd = (expires: string | undefined): { expires?: string } => (expires === undefined ? {} : { expires });

/** A contract whose member `self` has a plane, and the targets that its operator exposed. Devices carry no tag that serves. */
export const arbitraryPlane: fc.Arbitrary<{ readonly contract: Contract; readonly exposed: readonly string[] }> = fc
  .record({
    tags: fc.array(someOf(['x', 'y'], 0), { minLength: 4, maxLength: 4 }),
    keyless: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
    ends: fc.array(expiry, { minLength: 6, maxLength: 6 }),
    vias: fc.tuple(fc.constantFrom('self', 'b', 'c'), fc.constantFrom('self', 'b', 'c')),
    services: fc.array(
      fc.record({
        on: someOf(['self', 'b', 'c', 'd', 'tag:x', 'tag:y']),
        port: fc.integer({ min: 1, max: 3 }),
        target: fc.constantFrom(...TARGETS),
        protocol: fc.constantFrom('tcp', 'udp', 'http'),
      }),
      { minLength: 1, maxLength: 6 },
    ),
    access: fc.array(
      fc.record({ from: someOf(SELECTORS), to: fc.array(fc.nat(5), { minLength: 1, maxLength: 4 }), expires: expiry }),
      {
        maxLength: 5,
      },
    ),
    egress: fc.array(fc.record({ from: someOf(SELECTORS), via: fc.constantFrom('self', 'b', 'c'), expires: expiry }), {
      maxLength: 3,
    }),
    exposed: someOf(TARGETS, 0),
  })
  .map(({ tags, keyless, ends, vias, services, access, egress, exposed }) => {
    const names = ['self', 'b', 'c', 'd'];
    const machines = names.map((name, i): Member => {
      const isSelf = name === 'self';
      const { wireguard, ...member } = planeMember(name, i + 2, {
        tags: tags[i] ?? [],
        ...(isSelf ? {} : withEnd(ends[i])),
      });
      return !isSelf && keyless[i] === true ? member : { ...member, ...(wireguard === undefined ? {} : { wireguard }) };
    });
    const devices = ['phone', 'pad'].map((name, i) =>
      planeMember(name, i + 9, { via: vias[i] ?? 'self', tags: ['z'], ...withEnd(ends[i + 4]) }),
    );
    const offered = services.map((service, i): Service => ({ ...service, name: `s${i}` }));
    const granted = access.map(({ from, to, expires }): Grant => {
      const names = [...new Set(to.map((i) => `s${i % offered.length}`))];
      return { from, to: names, ...withEnd(expires) };
    });
    const leaving = egress.map(({ from, via, expires }): Egress => ({ from, via, ...withEnd(expires) }));
    const contract = planeContract({
      members: [...machines, ...devices],
      services: offered,
      access: granted,
      ...(leaving.length === 0 ? {} : { egress: leaving }),
    });
    return { contract, exposed };
  });
