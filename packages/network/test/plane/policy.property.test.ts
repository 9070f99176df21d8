/** Packet rules against the contract: for any contract, what gets through is what `may` grants and the operator exposed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  buildView,
  ipv6Of,
  may,
  parseTime,
  type ContractView,
  type Egress,
  type Place,
  type Service,
} from '@moat/contract';
import fc from 'fast-check';
import { planeOf } from '../../src/plane/layout.ts';
import { NftModel } from './nft-model.ts';
import { DEPLOYMENT, NOW, arbitraryPlane } from './plane-contracts.ts';

const LAN_SELF = '192.168.1.2';
const STRANGER = '10.77.200.1';
const INTERNET = '9.9.9.9';
const LATER = Date.parse('2026-11-21T13:00:00Z');
const RUNS = process.env['MOAT_TEST'] === 'full' ? 1000 : 30;

/** The contract's answers, written without a look at how rules are made. */
class Expected {
  readonly #view: ContractView;
  readonly #exposed: readonly string[];
  readonly #now: number;

  constructor(view: ContractView, exposed: readonly string[], now: number) {
    this.#view = view;
    this.#exposed = exposed;
    this.#now = now;
  }

  isPresent(name: string): boolean {
    const place = this.#view.places.get(name);
    if (place?.wireguard === undefined || this.#now >= place.untilMs) return false;
    return place.via === undefined ? place.peer !== null : this.isPresent(place.via);
  }

  /** Which service of ours answers at a port: the first whose target is exposed and has an address. */
  #atPort(
    port: number,
    transport: string,
  ): { readonly service: Service; readonly at: string; readonly isIpv6: boolean } | undefined {
    for (const service of this.#view.servicesOf('self')) {
      if (service.port !== port || (service.protocol === 'udp') !== (transport === 'udp')) continue;
      const at = targetOf(service);
      if (at !== undefined && this.#exposed.includes(service.target)) return { service, at, isIpv6: at.includes(':') };
    }
    return undefined;
  }

  /** Where a packet to our own address ends; undefined where nothing may come of it. */
  inwards(from: string, port: number, transport: string, isIpv6: boolean): string | undefined {
    const served = this.#atPort(port, transport);
    if (served === undefined || served.isIpv6 !== isIpv6 || !this.isPresent(from)) return undefined;
    return may(this.#view, from, served.service.name, this.#now).allowed ? served.at : undefined;
  }

  /** May `from` reach `to` at a port, as far as others' services go? */
  grants(from: string, to: string, port: number, transport: string, isIpv6: boolean): boolean {
    if (!this.isPresent(from) || !this.isPresent(to)) return false;
    return this.#view.servicesOf(to).some((service) => {
      const at = targetOf(service);
      const fits = service.port === port && (service.protocol === 'udp') === (transport === 'udp');
      return (
        fits &&
        at !== undefined &&
        at.includes(':') === isIpv6 &&
        may(this.#view, from, service.name, this.#now).allowed
      );
    });
  }

  /** By whom a member leaves to the internet. */
  leavesBy(name: string): string | undefined {
    const place = this.#view.places.get(name) as Place;
    const isFor = ({ from, via, expires }: Egress): boolean =>
      via !== name &&
      (place.via === undefined || place.via === via) &&
      this.isPresent(via) &&
      (expires === undefined || this.#now < parseTime(expires)) &&
      (from.includes(name) || place.tags.some((tag) => from.includes(`tag:${tag}`)));
    return this.isPresent(name) ? this.#view.contract.egress?.find(isFor)?.via : undefined;
  }

  /** Is there anything between the two? */
  isPair(name: string): boolean {
    const reaches = (from: string, to: string): boolean =>
      this.#view.servicesOf(to).some((service) => may(this.#view, from, service.name, this.#now).allowed);
    if (!this.isPresent(name)) return false;
    return (
      reaches(name, 'self') || reaches('self', name) || this.leavesBy(name) === 'self' || this.leavesBy('self') === name
    );
  }
}

/** `host port` where packets can be sent on to. */
function targetOf({ target }: Service): string | undefined {
  if (/^(?:127|192)\./.test(target)) return target.replace(':', ' ');
  if (target.startsWith('localhost:')) return target.replace('localhost:', '127.0.0.1 ');
  return target === '[fd99::7]:80' ? 'fd99::7 80' : undefined;
}

test('what gets through is what the contract grants and the operator exposed, for any contract', () => {
  fc.assert(
    fc.property(arbitraryPlane, ({ contract, exposed }) => {
      const view = buildView(contract, [], NOW);
      const isExposed = (target: string): boolean => exposed.includes(target);
      const layout = planeOf(view, 'self', { exposed: { isExposed, isOwnSocket: () => false }, now: NOW });
      assert.ok(layout);
      const addressesOf = (name: string): string[] => [view.places.get(name)?.ipv4 ?? '', ipv6Of(DEPLOYMENT, name)];
      const [own4 = '', own6 = ''] = addressesOf('self');
      const model = new NftModel(layout.rules.chains, [own4, own6, LAN_SELF], NOW);
      const expected = new Expected(view, exposed, NOW);
      const inside = layout.name;
      const others = contract.members.map(({ name }) => name).filter((name) => name !== 'self');
      const ranges = layout.peers.flatMap(({ allowedIps }) => allowedIps);
      for (const port of [1, 2, 3, 80, 3001]) {
        for (const transport of ['tcp', 'udp'] as const) {
          for (const name of others) {
            for (const [i, from] of addressesOf(name).entries()) {
              const what = `${name} ${transport} ${port} v${i === 0 ? 4 : 6}`;
              const isIpv6 = i === 1;
              const to = isIpv6 ? own6 : own4;
              const at = expected.inwards(name, port, transport, isIpv6);
              const where = at === undefined || at.startsWith('127.') ? 'here' : 'beyond';
              const fate = model.fate({ from, to, transport, port, iif: inside, oif: 'lan' });
              if (at === undefined) assert.match(fate, /^dropped/, what);
              else assert.equal(fate, `${where} ${at}`, what);
              if (at !== undefined)
                assert.ok(ranges.includes(`${from}/${isIpv6 ? 128 : 32}`), `${what}: let out of the tunnel`);

              for (const other of others) {
                const target = addressesOf(other)[i] ?? '';
                const isCarried =
                  view.places.get(name)?.via === 'self' && expected.grants(name, other, port, transport, isIpv6);
                const passed = model.fate({ from, to: target, transport, port, iif: inside, oif: inside });
                assert.equal(
                  passed,
                  isCarried ? `beyond ${target} ${port}` : passed.replace(/^beyond.*/, 'dropped'),
                  `${what} to ${other}`,
                );
                assert.equal(passed.startsWith('beyond'), isCarried);
              }
              const outer = isIpv6 ? '2606:4700::1' : INTERNET;
              const left = model.fate({ from, to: outer, transport, port, iif: inside, oif: 'lan' });
              assert.equal(left.startsWith('beyond'), expected.leavesBy(name) === 'self', `${what} to the internet`);
              for (const oif of ['lan', 'moatother']) {
                for (const [never, over] of [
                  ['192.168.1.9', 'lan'],
                  [LAN_SELF, ''],
                  ['127.0.0.1', ''],
                  ['169.254.169.254', 'lan'],
                  [outer, 'moatother'],
                ] as const) {
                  if (isIpv6 || (over !== '' && over !== oif)) continue;
                  const reached = model.fate({ from, to: never, transport, port, iif: inside, oif });
                  assert.match(reached, /^dropped/, `${what} to ${never} by ${oif}`);
                }
              }
              // Ours, towards them.
              const goes = model.outwards({ from: to, to: from, transport, port, iif: inside });
              const reaches =
                view.places.get(name)?.via === undefined && expected.grants('self', name, port, transport, isIpv6);
              assert.equal(goes, reaches, `self to ${what}`);
            }
          }
          for (const from of [STRANGER, own4, '127.0.0.1', '192.168.1.9', INTERNET]) {
            for (const to of [own4, '127.0.0.1', '192.168.1.9', INTERNET]) {
              const fate = model.fate({ from, to, transport, port, iif: inside, oif: 'lan' });
              assert.match(fate, /^dropped/, `${from} → ${to} ${transport} ${port}`);
            }
          }
          assert.match(
            model.fate({ from: '192.168.1.9', to: own4, transport, port, iif: 'lan', oif: '' }),
            /^dropped/,
            'our address, from the LAN',
          );
          const out = model.outwards({ from: own4, to: INTERNET, transport, port, iif: inside });
          assert.equal(out, expected.leavesBy('self') !== undefined, 'self to the internet');
        }
      }
      for (const name of others) {
        const [from = ''] = addressesOf(name);
        const echo = { from, to: own4, transport: 'icmp', port: 0, iif: inside } as const;
        const isPair = expected.isPair(name);
        assert.equal(model.fate({ ...echo, oif: '' }).startsWith('here'), isPair, `echo of ${name}`);
        assert.equal(model.outwards({ ...echo, from: own4, to: from }), isPair, `echo to ${name}`);
      }
      // Nobody applies anything any more, and what ends, ends.
      model.nowMs = LATER;
      const later = new Expected(view, exposed, LATER);
      for (const name of others) {
        const [from = ''] = addressesOf(name);
        const asked = { from, transport: 'tcp', iif: inside } as const;
        for (const port of [1, 2, 3]) {
          const at = later.inwards(name, port, 'tcp', false);
          const fate = model.fate({ ...asked, to: own4, port, oif: 'lan' });
          assert.equal(fate.split(' ').slice(1).join(' '), at ?? fate.split(' ').slice(1).join(' '));
          assert.equal(/^(?:here|beyond)/.test(fate), at !== undefined, `${name} ${port} later`);
          for (const other of others) {
            const [to = ''] = addressesOf(other);
            const passed = model.fate({ ...asked, to, port, oif: inside });
            if (!later.grants(name, other, port, 'tcp', false) && later.isPresent(other))
              assert.match(passed, /^dropped/);
          }
        }
        const left = model.fate({ ...asked, to: INTERNET, port: 80, oif: 'lan' });
        if (later.leavesBy(name) !== 'self') assert.match(left, /^dropped/, `${name} to the internet later`);
      }
      assert.equal(layout.leavesBy, expected.leavesBy('self') ?? null);
      assert.equal(new Set(ranges).size, ranges.length, 'no address is two peers’');
    }),
    { numRuns: RUNS },
  );
});
