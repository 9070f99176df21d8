/** A bundle's names against the registry, and all that is to be said about each. */
import type { MoatError } from '@moat/core';
import type { GatewayErrorCode } from '../errors.ts';
import { portKey } from '../names/port.ts';
import type { NameRegistry } from '../names/registry.ts';
import type { NameRecord } from '../store/store.ts';
import type { EdgeRules } from './edge-rules.ts';
import type { PublisherBook } from './publisher-book.ts';
import { suspensionRefusal, type SuspensionBook } from './suspensions.ts';
import type { JudgedBundle } from './verify.ts';

export interface ClaimNamesDeps {
  readonly registry: Pick<NameRegistry, 'claim' | 'get'>;
  readonly publishers: Pick<PublisherBook, 'namesOf'>;
  readonly suspensions: Pick<SuspensionBook, 'of'>;
  readonly edgeRules: Pick<EdgeRules, 'problemOf'>;
}

export interface ClaimedName {
  readonly name: string;
  readonly record: NameRecord;
  /** Of the port it has to itself. */
  readonly port?: NameRecord;
}

/** A name may be in both: it is held, and its publisher is told what is wrong with it. */
export interface ClaimedNames {
  readonly names: readonly ClaimedName[];
  readonly refused: readonly { readonly name: string; readonly code: string; readonly message: string }[];
}

/** What an answer over the overlay takes. */
const MAX_MESSAGE_LENGTH = 500;

/** @param take asked before each name that is new; an error refuses that name */
export function claimNames(
  { registry, publishers, suspensions, edgeRules }: ClaimNamesDeps,
  { record, servable, refused }: JudgedBundle,
  take: () => MoatError<GatewayErrorCode> | undefined,
): ClaimedNames {
  const { deployment } = record;
  const names: ClaimedName[] = [];
  const told: { name: string; code: string; message: string }[] = [];
  const tell = (name: string, { code, message }: MoatError<GatewayErrorCode>): void =>
    void told.push({ name, code, message: message.slice(0, MAX_MESSAGE_LENGTH) });
  for (const { publication, error } of refused) tell(publication.name, error);
  const wanted = servable.flatMap(({ name, port }) => (port === undefined ? [name] : [name, portKey(port)]));
  const outcomes = registry.claim(deployment, wanted, { names: publishers.namesOf(deployment), take });
  for (const { name, port: portNumber } of servable) {
    const outcome = outcomes.get(name);
    const port = portNumber === undefined ? undefined : outcomes.get(portKey(portNumber));
    if (outcome === undefined) continue;
    if ('error' in outcome || (port !== undefined && 'error' in port)) {
      // Half of it would lead nowhere.
      if ('error' in outcome) tell(name, outcome.error);
      if (port !== undefined && 'error' in port) tell(name, port.error);
      continue;
    }
    const { host } = outcome.record;
    const suspension = suspensions.of(host, deployment);
    // Who holds it keeps it; nobody gets it new.
    if (suspension === undefined || registry.get(host) !== undefined) {
      names.push({ name, record: outcome.record, ...(port === undefined ? {} : { port: port.record }) });
    }
    if (suspension !== undefined) tell(name, suspensionRefusal(suspension));
    if (outcome.warning !== undefined) tell(name, outcome.warning);
  }
  // Its name is held and its member an upstream: only nobody gets in until the box can be opened.
  for (const publication of servable) {
    const problem = edgeRules.problemOf(publication);
    if (problem !== undefined) tell(publication.name, problem);
  }
  return { names, refused: told };
}
