/** Where members of this machine's deployments come with questions about a pair: one protocol, many deployments. */
import { MoatError, type Clock, type ControlPlane, type DeploymentId, type MessageStream } from '@moat/core';

import { createDeadline } from './deadline.ts';

/** Milliseconds until the first message is there. */
const FIRST_MS = 5_000;
/** Streams of one connection at a time: an exchange, a check beside it, and room for one of each that ends just now. */
const MAX_STREAMS = 4;

/** Takes a stream whose first message names its deployment; a rejection resets the stream. */
export type PeerVisit<First> = (stream: MessageStream, first: First) => Promise<void>;

/** One protocol's door. */
export interface PeerDoor<First> {
  /** Streams that name `deployment` go to `visit`; returns the way to end that. */
  serve(deployment: DeploymentId, visit: PeerVisit<First>): () => void;
}

export interface PeerDoorDeps {
  readonly control: ControlPlane;
  readonly clock: Clock;
}

export interface PeerDoorOptions<First> {
  readonly protocol: string;
  /** @throws any coded error for what cannot be a first message. */
  readonly decode: (message: Uint8Array) => First;
}

/** A door for a protocol; one a process. A deployment that is not served and one that refuses look the same. */
export function createPeerDoor<First extends { readonly deployment: DeploymentId }>(
  { control, clock }: PeerDoorDeps,
  { protocol, decode }: PeerDoorOptions<First>,
): PeerDoor<First> {
  const visits = new Map<DeploymentId, PeerVisit<First>>();
  const open = new AbortController();
  control.handle(
    protocol,
    async (stream) => {
      using deadline = createDeadline(clock, FIRST_MS, open.signal);
      const first = decode(await stream.read(deadline.signal));
      const visit = visits.get(first.deployment);
      if (visit === undefined) throw new MoatError('PATH_REFUSED', 'no such pair here');
      deadline[Symbol.dispose]();
      await visit(stream, first);
    },
    { audience: 'admitted', maxStreams: MAX_STREAMS },
  );
  return {
    serve(deployment, visit) {
      visits.set(deployment, visit);
      return () => {
        if (visits.get(deployment) === visit) visits.delete(deployment);
      };
    },
  };
}
