/**
 * The receiver's decision about one stream: the contract's answer and the operator's consent.
 * Pure; asked on every open, and again for running streams whenever either may have changed.
 */
import { may, mayPublish, type ContractView, type DenialCode, type Service } from '@moat/contract';
import type { LinkStream, OpenRequest, PeerId } from '@moat/core';
import type { NetworkErrorCode } from './errors.ts';
import type { ExposedTargets } from './exposed.ts';
import { fitsKind } from './published-line.ts';

export type Admission = Admitting | { readonly admitted: false; readonly code: DenialCode | NetworkErrorCode };

export interface Admitting {
  readonly admitted: true;
  readonly service: Service;
  /** Let in by a publication, as no grant does. */
  readonly isGateway: boolean;
}

export interface AdmissionRules {
  readonly view: ContractView;
  /** The member that was asked. */
  readonly self: string;
  readonly exposed: ExposedTargets;
}

/** What identifies a stream: who opened it, and for what. */
export type Asked = Pick<LinkStream, 'peer'> & { readonly request: OpenRequest };

/**
 * May this stream reach the service on this member? A member needs a grant, a gateway a publication and a
 * target exposed with `--public`. A peer that is neither learns nothing, not even which services exist.
 * @param now milliseconds since 1970
 */
export function admit(rules: AdmissionRules, asked: Asked, now: number): Admission {
  const { view, self } = rules;
  const { deployment, kind } = asked.request;
  if (deployment !== view.contract.deployment) return refuse('GRANT_DENIED');
  if (view.contract.state === 'ended') return refuse('DEPLOYMENT_ENDED');
  const place = view.places.get(self);
  if (place?.peer === undefined || place.peer === null) {
    return refuse(place?.state === 'expired' ? 'MEMBER_EXPIRED' : 'MEMBER_UNKNOWN');
  }
  const opener = openerOf(view, asked.peer, asked.request, now);
  if (opener.code !== undefined) return refuse(opener.code);
  const service = view.servicesOf(self).find(({ name }) => name === asked.request.service);
  if (!service) return refuse('SERVICE_UNKNOWN');
  // A link carries no datagrams: what would be reached is a TCP server at the same port.
  if (service.protocol === 'udp') return refuse('KIND_MISMATCH');
  if (kind === 'http' && service.protocol === 'tcp') return refuse('KIND_MISMATCH');
  if (!rules.exposed.isExposed(service.target, deployment, opener.isGateway)) {
    return refuse(opener.isGateway ? 'NOT_PUBLIC' : 'NOT_EXPOSED');
  }
  return { admitted: true, service, isGateway: opener.isGateway };
}

/** As a member where its grants allow it, else as a gateway; one PeerId may be both. */
function openerOf(
  view: ContractView,
  peer: PeerId,
  request: OpenRequest,
  now: number,
): { readonly isGateway: boolean; readonly code?: DenialCode | NetworkErrorCode } {
  const member = view.memberOf(peer);
  const access = member === undefined ? undefined : may(view, member.name, request.service, now);
  if (access?.allowed) return { isGateway: false };
  const { allowed, publications } = mayPublish(view, peer, request.service);
  if (allowed && publications.some((publication) => fitsKind(publication, request))) return { isGateway: true };
  if (allowed) return { isGateway: true, code: 'KIND_MISMATCH' };
  if (access !== undefined) return { isGateway: false, code: access.code };
  const isGateway = view.publishedAt(peer).length > 0;
  return { isGateway, code: isGateway ? 'NOT_PUBLISHED' : 'GRANT_DENIED' };
}

function refuse(code: DenialCode | NetworkErrorCode): Admission {
  return { admitted: false, code };
}
