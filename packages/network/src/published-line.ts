/** Under which of its names a gateway asks. */
import type { ContractView, Publication } from '@moat/contract';
import type { OpenRequest, PeerId, RequestHead } from '@moat/core';

/** A stream from a gateway. */
export interface PublicUse {
  readonly peer: PeerId;
  readonly request: OpenRequest;
  readonly requestHead: RequestHead | undefined;
}

/**
 * The publication by the name the client asked for. A gateway that names none of them gets the first that `isHeld`; one
 * that names another line to the same service gets what its publisher gives there.
 */
export function publishedLine(
  view: ContractView,
  { peer, request, requestHead }: PublicUse,
  isHeld: (publication: Publication) => boolean,
): Publication | undefined {
  const leading = view
    .publishedAt(peer)
    .filter((publication) => leadsTo(publication, request.service) && fitsKind(publication, request));
  const host = (requestHead?.authority ?? '').split(':', 1)[0] ?? '';
  const named = leading.find(({ name }) => host === name || (!name.includes('.') && host.startsWith(`${name}.`)));
  return named ?? leading.find(isHeld);
}

/** A name at its gateway, however often the key of that is replaced. */
export function lineKey({ name, salt }: Pick<Publication, 'name' | 'salt'>): string {
  return `${name} ${salt}`;
}

/** A terminated name comes as the kind its service has; one passed through is always bytes. */
export function fitsKind(publication: Publication, request: OpenRequest): boolean {
  return request.kind === (publication.tls === 'passthrough' ? 'tcp' : publication.kind);
}

function leadsTo({ service, others = [] }: Publication, wanted: string): boolean {
  return service === wanted || others.some((other) => other.service === wanted);
}
