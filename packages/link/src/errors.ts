/** The codes this package raises, or sends to a peer as the reason of a reset or a closed link. */
export const LINK_ERROR_CODES = [
  'LINK_CLOSED', // the link ended while it was in use | open the stream again, on a new link
  'LINK_FAILED', // no link to the peer could be made, neither direct nor over the overlay | see `cause`; check that the peer runs and is connected
  'LINK_REFUSED', // one side may not have a link with the other now | check that both share a deployment and a grant
  'LINK_REVOKED', // the last grant or membership behind a link went away | none; a new version may give it back
  'LINK_LOST', // no path led to the peer for 30 s, or the peer knew the link no more | open the stream again, on a new link
  'LINK_DEAD', // the peer answered no ping in time | wait: the next use makes a new link
  'LINK_BACKLOG', // the peer stopped reading, and answers to it piled up beyond the bound | check the peer's load
  'LINK_LIMIT', // a peer holds as many links as it may | close some; two are enough for any peer
  'FRAME_INVALID', // a frame breaks the link protocol | update the older of the two machines
  'FRAME_UNKNOWN', // a frame of a type this version does not list | update the older of the two machines
  'CREDIT_EXCEEDED', // a peer sent more than it was given credit for | report it: the peer's implementation is wrong
  'HEAD_INVALID', // a request or response head breaks a rule of HTTP | see the message; the client or service sent it
  'HEAD_TOO_LARGE', // a head has more than 64 KiB | send fewer or smaller header fields
  'HEAD_MISSING', // the accepting side wrote data before its head | report it: the code that accepted the stream is wrong
  'KIND_UNKNOWN', // the peer opened a stream of a kind that this version does not know | update the older of the two machines
  'STREAM_LIMIT', // the link carries as many streams as the peer takes | retry when some have ended
  'STREAM_OVERRUN', // a writer went on without waiting for the drain event | report it: the code that writes is wrong
  'STREAM_STALLED', // the reader stood still longest while the link's memory bound was reached | read faster, or retry
  'STREAM_UNHANDLED', // the accepting side took a stream and did not listen to it | report it: the code that accepts is wrong
  'OPEN_RATE', // the peer opens or resets streams faster than it may | slow down
  'TICKET_INVALID', // a link ticket is malformed | update the older of the two machines
  'SPLICE_REFUSED', // an anchor joins no sockets for this machine now | wait, or add another anchor to the contract
  'SPLICE_BUSY', // an anchor has joined or promised as much as it may | wait, or add another anchor to the contract
  'TLS_REFUSED', // the other end of a socket did not prove that it holds the ticket | none; something stands between the peers
  'HANDSHAKE_TIMEOUT', // a link socket was not ready in time | check that nothing on the way delays the link port
] as const;
export type LinkErrorCode = (typeof LINK_ERROR_CODES)[number];
