/** What a table of so many names costs a gateway: a lookup of a request, and a version that changes one deployment. */
import { Routes, type RouteSpec } from '../../gateway/src/routes/snapshot.ts';
import type { Values } from './scenario.ts';
import { median } from './statistics.ts';

const LOOKUPS = 100_000;
const UPDATES = 5_000;
const PASSES = 5;

/**
 * `lookupNs` of names drawn evenly, each a new string as a parser makes it, less what making it takes; `updateUs` of a
 * deployment that publishes one name. Names drawn evenly are the worst case: what many ask for stays in the caches.
 */
export function namesLoad(names: number): Values {
  const routes = new Routes({ now: () => 0, random: Math.random });
  const specs = Array.from({ length: names }, (_, i) => specOf(i, ['m1']));
  routes.swap(
    specs,
    specs.map(({ host }) => host),
  );
  const wanted = Array.from({ length: LOOKUPS }, () => Buffer.from(hostOf(Math.floor(Math.random() * names))));
  const passes = Array.from({ length: PASSES }, () => {
    const found = timed(() => {
      for (const bytes of wanted) {
        if (routes.find(bytes.toString('latin1')) === undefined) throw new Error('a name is missing');
      }
    });
    const made = timed(() => {
      for (const bytes of wanted) if (bytes.toString('latin1').length === 0) throw new Error('no name');
    });
    return ((found - made) / LOOKUPS) * 1e6;
  });
  const changed = timed(() => {
    for (let i = 0; i < UPDATES; i++) {
      const spec = specOf((i * 7_919) % names, ['m1', 'm2']);
      const { host, deployment } = spec;
      routes.apply({ deployments: [{ deployment, routes: [spec] }], held: [host], released: [] });
    }
  });
  return { lookupNs: median(passes), updateUs: (changed / UPDATES) * 1e3 };
}

function hostOf(index: number): string {
  return `name-${index}.apps.example.com`;
}

function specOf(index: number, members: readonly string[]): RouteSpec {
  return { host: hostOf(index), deployment: `deployment-${index}`, service: 'web', members };
}

/** Milliseconds. */
function timed(run: () => void): number {
  const at = performance.now();
  run();
  return performance.now() - at;
}
