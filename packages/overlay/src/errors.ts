/** Codes this package raises; the comment is meaning | remedy. */
export const OVERLAY_ERROR_CODES = [
  'PEER_UNREACHABLE', // no known address, LAN or anchor leads to this machine now | see `moat status`; start the other machine or add an anchor
  'PROTOCOL_UNSUPPORTED', // the other side does not serve this protocol, or not to us | update the older machine; check that both share a deployment
  'STREAM_ENDED', // the other side ended or reset the stream before its message was complete | retry; look at the other machine's log
  'MESSAGE_TOO_LARGE', // a message is above the protocol's bound | update both machines; report it if they are current
  'MESSAGE_INVALID', // a message is not what the protocol says | update the older machine
  'NO_KEEPER_REACHABLE', // none of the token's keepers could be reached | start a keeper, or use `moat join --wait`
  'JOIN_REFUSED', // the keeper does not know this deployment, invite or machine | check the token; ask the owner for a new one
  'PROPOSALS_REFUSED', // the keeper does not know this deployment, or this machine as an owner's | open an owner session; check that your key is an owner's
  'RESERVATION_REFUSED', // the anchor is full or its quota for this address is used | wait, or name another anchor in the contract
  'OBSERVE_UNAVAILABLE', // the anchor sees no UDP packets: its UDP port is not open, or it is reached through another anchor | on the anchor: free the UDP port of the number it listens on
  'OBSERVE_BUSY', // the anchor waits for as many handshakes as it may, in all or from this address | wait; another anchor serves too
  'OBSERVE_SILENT', // no handshake arrived at the anchor's UDP port | let UDP out to the anchor, and in at the anchor
  'PUBLISH_FAILED', // the gateway could not process the publication | retry; ask its operator
  'DIRECTORY_FULL', // an anchor takes no new entry into the directory, or none from this address today | try later, or another anchor
  'DIRECTORY_FAILED', // an anchor could not keep an entry of the directory | retry; ask its operator
  'DEADLINE_PASSED', // the other side did not answer in time | retry; see `moat status` for the path to it
  'LISTEN_FAILED', // the overlay's port cannot be opened | stop what uses the port, or set another with --listen
  'OVERLAY_STOPPED', // the overlay is not running | start the agent
] as const;
export type OverlayErrorCode = (typeof OVERLAY_ERROR_CODES)[number];
