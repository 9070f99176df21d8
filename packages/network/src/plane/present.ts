/** Who takes part in the WireGuard plane beside one member, and who leaves to the internet by whom. Pure. */
import { parseTime, selectorsOf, type ContractView, type Place } from '@moat/contract';

/**
 * Held places with a WireGuard key, and devices with one whose member takes part, in the contract's order, by name; no
 * devices where post-quantum keys are required, which stock clients cannot agree on. Of
 * several that show one key one counts, and nobody counts who shows ours: an interface has one peer a key. It is the one
 * whom the owners gave it, else the one that claimed it first: who takes up another's key takes it from nobody.
 * @param key `own`'s.
 * @param now milliseconds since 1970.
 */
export function presentBeside(view: ContractView, own: Place, key: string, now: number): ReadonlyMap<string, Place> {
  const isHeld = ({ peer, wireguard, untilMs }: Place): boolean =>
    peer !== null && wireguard !== undefined && now < untilMs;
  const admitsDevices = view.contract.network.postQuantum !== 'require';
  const holders = new Map([[key, own]]);
  const places = [...view.places.values()];
  const given = new Set(view.contract.members.flatMap(({ name, wireguard }) => (wireguard === undefined ? [] : name)));
  const claimed = places.filter(({ name }) => !given.has(name)).sort((a, b) => shownAt(a) - shownAt(b));
  for (const place of [...places.filter(({ name }) => given.has(name)), ...claimed]) {
    const { name, state, via, wireguard, untilMs } = place;
    if (name === own.name || wireguard === undefined || holders.has(wireguard)) continue;
    const hub = via === undefined ? undefined : view.places.get(via);
    const isDevice = admitsDevices && state === 'device' && hub !== undefined && now < untilMs && isHeld(hub);
    if (isDevice || isHeld(place)) holders.set(wireguard, place);
  }
  const present = new Map<string, Place>();
  for (const place of places) {
    const { name, wireguard = '' } = place;
    if (name !== own.name && holders.get(wireguard) === place) present.set(name, place);
  }
  // A device whose member shows somebody else's key is behind nobody.
  for (const { name, via } of present.values()) {
    if (via !== undefined && via !== own.name && !present.has(via)) present.delete(name);
  }
  return present;
}

/** When a claimed key was witnessed, in milliseconds since 1970. */
function shownAt({ claim }: Place): number {
  return claim === undefined ? Infinity : parseTime(claim.witness.time);
}

/** For a member the first line in force whose member takes part decides by whom it leaves. */
export function egressOf(
  { contract }: ContractView,
  own: Place,
  present: ReadonlyMap<string, Place>,
  now: number,
): {
  readonly leaving: readonly { readonly place: Place; /** Of the line. */ readonly untilMs: number }[];
  readonly leavesBy: string | null;
} {
  const lines = (contract.egress ?? []).flatMap(({ from, via, expires }) => {
    const stands = via === own.name || (present.has(via) && present.get(via)?.via === undefined);
    const untilMs = expires === undefined ? Infinity : parseTime(expires);
    return stands && now < untilMs ? [{ from: new Set(from), via, untilMs }] : [];
  });
  // A device has one way out: the member it is behind.
  const lineOf = (place: Place): (typeof lines)[number] | undefined =>
    lines.find(
      ({ from, via }) =>
        via !== place.name && (place.via ?? via) === via && selectorsOf(place).some((selector) => from.has(selector)),
    );
  const leaving = [...present.values()].flatMap((place) => {
    const line = lineOf(place);
    return line?.via === own.name ? [{ place, untilMs: line.untilMs }] : [];
  });
  return { leaving, leavesBy: lineOf(own)?.via ?? null };
}
