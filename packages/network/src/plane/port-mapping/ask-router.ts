/** Asks a router for a port by every protocol at once; the first that grants one wins. */
import { isMoatError, type Endpoint } from '@moat/core';
import type { FindGiver, FoundGiver, GivenPort, PortGiver, Router } from './port-giver.ts';

/** A port that a router leads to us. */
export interface GrantedPort {
  readonly router: Router;
  readonly giver: PortGiver;
  readonly given: GivenPort;
  readonly external: Endpoint;
}

/**
 * All look for the router at the same time; those that found it ask for the port one after another, as two mappings of one
 * port would be in each other's way. What the others were doing ends with the first success.
 * @throws `ROUTER_SILENT` where nothing answers, else what the last one said, or the signal's reason
 */
export async function askRouter(
  finders: readonly FindGiver[],
  router: Router,
  port: number,
  signal: AbortSignal,
): Promise<GrantedPort> {
  const done = new AbortController();
  const either = AbortSignal.any([signal, done.signal]);
  let turn: Promise<unknown> = Promise.resolve();
  const ask = async (find: FindGiver): Promise<GrantedPort> => {
    const found = await find(router, either);
    const granted = turn.then(async () => {
      either.throwIfAborted();
      const result = await grantBy(found, router, port, either);
      done.abort(new Error('the router granted a port'));
      return result;
    });
    turn = granted.catch(() => undefined);
    return granted;
  };
  try {
    return await Promise.any(finders.map(ask));
  } catch (error) {
    signal.throwIfAborted();
    const failures = (error as AggregateError).errors as readonly unknown[];
    const said = failures.find((failure) => isMoatError(failure) && failure.code !== 'ROUTER_SILENT');
    throw (said ?? failures[0]) as Error;
  }
}

/** The same port once more, of the same router in the same way. @throws as {@link askRouter} */
export async function renewPort(
  { giver, router }: GrantedPort,
  port: number,
  signal: AbortSignal,
): Promise<GrantedPort> {
  // Before anything is made: afterwards nothing may fail, or a mapping would stay behind that nobody knows of.
  const outside = await giver.outside(signal);
  return grantBy({ giver, outside }, router, port, signal);
}

async function grantBy(found: FoundGiver, router: Router, port: number, signal: AbortSignal): Promise<GrantedPort> {
  const { giver, outside } = found;
  const given = await giver.give(port, signal);
  return { router, giver, given, external: { host: outside, port: given.externalPort } };
}

/** Whether two are one router as we stand to it. */
export function isSameRouter(a: Router, b: Router | null): boolean {
  return a.host === b?.host && a.own === b.own;
}
