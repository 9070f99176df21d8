/**
 * Bytes between two peers: many streams with credit over one TLS 1.3 PSK socket, or over one overlay
 * stream where no direct socket stands.
 *
 * @example
 * ```ts
 * import { createLinks } from '@moat/link';
 *
 * const links = createLinks(
 *   { logger, clock, control: overlay, accept: (stream) => stream.reset('GRANT_DENIED') },
 *   { role: 'member', mayLink: (peer) => view.isMember(peer), listen: { host: '::', port: 4411 } },
 * );
 * await links.start({ signal });
 * const link = await links.connect(peer, AbortSignal.timeout(10_000));
 * const stream = link.open({ deployment, service: 'db', kind: 'tcp' });
 * stream.listen(events);
 * stream.write(Buffer.from('hello'));
 * stream.end();
 * ```
 * @packageDocumentation
 */
export { LINK_ERROR_CODES, type LinkErrorCode } from './errors.ts';
export {
  createLinkDispatcher,
  type DispatchDeps,
  type DispatchOptions,
  type LinkDispatcher,
  type LinkWorkers,
  type ToldLink,
} from './dispatch.ts';
export { createLinks, type LinkService, type LinksDeps, type LinksOptions } from './pool.ts';
export type { LinkAnchors } from './splice-dial.ts';
export { pipeChannel } from './pipe.ts';
export { SocketChannel } from './socket-channel.ts';
export type { SpliceLimits } from './splice-limits.ts';
export type { SpentTicket } from './ticket.ts';
export { createWorkerLinks, type WorkerLinks, type WorkerLinksDeps } from './worker-links.ts';
export { WorkerLink } from './worker-table.ts';
