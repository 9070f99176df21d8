import type { PeerConnection, PeerId } from '@moat/core';
import type { PublicationBundle } from '@moat/contract';

/** What a gateway says to a bundle: which names it serves now, and which it refused. */
export type PublishAnswer =
  | {
      readonly ok: true;
      readonly names: readonly { readonly name: string; readonly host: string; readonly url: string }[];
      readonly refused: readonly { readonly name: string; readonly code: string; readonly message: string }[];
    }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** The gateway's side; an `ok` answer admits the connection, a rejection reaches the member as `PUBLISH_FAILED`. */
export type PublishHandler = (
  peer: PeerId,
  connection: PeerConnection,
  bundle: PublicationBundle,
) => Promise<PublishAnswer>;
