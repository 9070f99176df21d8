/** The one policy function: who may reach what, and by which line. */
import type { PeerId } from '@moat/core';
import type { Publication, Service } from './schema.ts';
import type { ContractView } from './view.ts';

export type DenialCode =
  'DEPLOYMENT_ENDED' | 'MEMBER_UNKNOWN' | 'MEMBER_EXPIRED' | 'SERVICE_UNKNOWN' | 'GRANT_DENIED' | 'GRANT_EXPIRED';

/** An answer and the sentence that explains it to people. */
export type Access =
  | {
      readonly allowed: true;
      /** Index of the line in `contract.access`. */
      readonly grant: number;
      /** When this answer ends, in milliseconds since 1970; infinite when nothing expires. */
      readonly untilMs: number;
      readonly reason: string;
    }
  | { readonly allowed: false; readonly code: DenialCode; readonly reason: string };

/**
 * May the member `from` open a stream to the service `to`? Asked on both sides of every stream.
 * @param now milliseconds since 1970; an expiry that has come is over, even if the view is older.
 */
export function may(view: ContractView, from: string, to: string, now: number): Access {
  throw new Error(view.contract.name + from + to + now);
}

/** The services a member may reach now, in the contract's order. */
export function grantedServices(view: ContractView, from: string, now: number): Service[] {
  throw new Error(view.contract.name + from + now);
}

/** A member's answer to a gateway that opens a stream to a service. */
export interface PublishAccess {
  readonly allowed: boolean;
  /** The publications at this gateway that lead to the service. */
  readonly publications: readonly Publication[];
}

/** May this gateway open streams to the service? Only what is published at it. */
export function mayPublish(view: ContractView, gateway: PeerId, service: string): PublishAccess {
  throw new Error(view.contract.name + gateway + service);
}
