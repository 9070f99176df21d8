/** Codes of the gateway. Each line: code, meaning | remedy; `docs/errors.md` says more. */
import { MoatError, type ErrorDetails } from '@moat/core';

export const GATEWAY_ERROR_CODES = [
  // The operator's side.
  'GATEWAY_CONFIG_INVALID', // gateway.yaml cannot be used as it is | correct the line the message names
  'LISTEN_FAILED', // a port or socket could not be opened | free it, or choose another in gateway.yaml
  'CERTIFICATE_INVALID', // certificate or key cannot be read, do not match, or are over | give a valid pair, or `tls: local`
  'ROTATION_NOT_BEGUN', // no new key was made that could take over | moat gateway rotate-key, and finish once publishers applied
  'WORKER_GONE', // a traffic worker of the gateway ended or does not answer | another takes its place by itself; see the log
  'RESTART_RUNNING', // workers that were replaced still serve their clients | wait a minute, see `moat gateway status`
  'NO_WORKERS', // the gateway is one process and has no workers to restart | set `workers` in gateway.yaml
  'STORE_FAILED', // the gateway's database cannot be read or written | check the path, its rights and the disk
  'STATE_EXISTS', // a gateway's state is already where a backup would be restored | give --replace, which puts it aside, or another `state`
  'BACKUP_INVALID', // the file is no backup, was damaged or changed, or is of another domain | take another backup
  'STATE_LOCKED', // another gateway runs with this state | stop it, or give this one another `state`
  'DISK_FULL', // nothing new can be kept; what is published is still served | free space on the disk of `store`
  // Answers to a member that publishes.
  'PUBLISHER_NOT_INVITED', // the gateway serves those its operator invited | publish with --code-file, or send the operator the `moat gateway allow` line of the message
  'PUBLISHER_REFUSED', // the operator of this gateway does not serve this deployment | ask them to allow its id
  'CODE_INVALID', // the gateway does not know the invite code, or it has expired or was used | ask its operator for a new one
  'CODE_GUESSES', // too many wrong invite codes came from this address | wait; ask the operator for a code that works
  'PUBLISH_RATE', // this address showed, claimed or made too much at this gateway in an hour | wait as long as the message says, or ask the operator
  'MEMBER_LIMIT', // as many members serve this deployment as the gateway lets one have | offer the service on fewer members, or ask the operator
  'NAME_HELD', // another deployment holds the name | choose another name, or wait until its lease ends
  'NAME_INVALID', // neither one DNS label below the gateway's domain nor a whole host name | use a-z, 0-9 and inner hyphens; A-labels (xn--…) for others
  'NAME_SUSPENDED', // the operator of this gateway took the name, or all of its deployment, off the air | read the operator's note in `moat names`; write to the contact on the name's page
  'NAME_GIVEN', // the name is given up by a line with `transfer` | take the line out of the file once the name has its new holder
  'NAME_FREE', // nobody holds the name | moat gateway names lists those that are held
  'NAME_PUBLISHED', // the name cannot be set free: its deployment publishes it | suspend it, or have it unpublished first
  'NAME_RESERVED', // the gateway's operator keeps the name, or one that looks like it | choose another, or send the operator the line of the message
  'NAME_LOOKALIKE', // the name looks like another deployment's, or mixes scripts | choose another, or send the operator the line of the message
  'PROOF_MISSING', // the DNS does not say that a host of your own is your deployment's | create the TXT record that the message and `moat names` show; it is looked for again within a minute
  'PROOF_WRONG', // the record at `_moat.HOST` names another deployment | create one with your deployment's id beside it, or instead of it
  'PROOF_UNCHECKED', // the record of a host could not be looked up, or not yet | wait a minute; if it stays, look at the name servers of the host's zone
  'NAME_LIMIT', // this deployment holds as many names as the gateway allows | unpublish one, or ask the operator
  'PORT_NOT_ALLOWED', // the operator of this gateway does not let that TCP port be published | choose a port of the range they allow (`tcpPorts` in gateway.yaml), or leave `port` out and publish by name
  'PORT_HELD', // another deployment holds the TCP port at this gateway | choose another port, or wait until its lease ends
  'SECRET_UNREADABLE', // the gateway cannot open a box with a name's secrets, or they are not what they must be | apply again, so that it is boxed for this gateway's key
  'PUBLICATION_UNSUPPORTED', // the line has an edge rule that this gateway does not keep | leave the rule out, or ask the operator to update the gateway
  // Answers to a client.
  'REQUEST_MALFORMED', // not an unambiguous request | correct the client
  'TRANSFER_CODING_UNSUPPORTED', // Transfer-Encoding other than one final `chunked` | send `chunked` or a length
  'HTTP_VERSION_UNSUPPORTED', // neither HTTP/1.1 nor HTTP/1.0 | correct the client
  'AUTH_REQUIRED', // the name asks who comes in, and nobody it knows has said so | send user and password as HTTP Basic, or sign in: the page says how
  'TARGET_TOO_LARGE', // the request line does not fit into a head | ask for a shorter target, or send it in the body
  'METHOD_REFUSED', // CONNECT and TRACE are never forwarded | use another method
  'METHOD_UNKNOWN', // a method that is in no registry | use a registered method, in capitals
  'EXPECTATION_FAILED', // an Expect other than `100-continue` | leave the field out
  'HEAD_TOO_LARGE', // request line and fields exceed the limit | send fewer or shorter fields, mostly cookies
  'HEAD_TIMEOUT', // the request's head did not arrive in time | send it at once
  'MISDIRECTED', // Host is not the name of the TLS handshake, or unknown here | connect anew with the right name
  'PATH_UNKNOWN', // the gateway's own domain has no such page | see `/.well-known/moat`
  'RATE_LIMITED', // this client address sent too many requests | retry after the time in Retry-After
  'BODY_TOO_LARGE', // the body exceeds this gateway's limit | send less, or ask the operator
  'NAME_NOT_PUBLISHED', // the name is held, but nothing is published under it now | `moat apply` a publish line
  'NO_MEMBER_CONNECTED', // no member that offers the service is connected | start its agent; retry later
  'MEMBER_REFUSED', // the member did not let the stream in | expose the port with `--public`, see `moat explain`
  'NOT_PUBLIC', // the operator of the member's machine opens the service to no gateway | on that machine: moat node expose PORT --to DEPLOYMENT --public
  'SERVICE_UNREACHABLE', // the member could not reach its service | start the service on its target
  'LINK_LOST', // the link to the member broke before the answer | retry; see `moat status`
  'ANSWER_INVALID', // the member or its service answered what is not HTTP | correct the service
  'ANSWER_TIMEOUT', // the service did not answer in time | retry; look at the service
  'SIGN_IN_REFUSED', // whoever signed in is nobody who may come in under this name | sign in as somebody else; ask the publisher, who names people under auth: in moat.yaml
  'SIGN_IN_FAILED', // the answer of the provider belongs to no sign-in that was begun in this browser, or is not what it must be | begin again at the page you wanted
  'ISSUER_UNREACHABLE', // the provider at which people sign in does not answer, or not as one | retry; the publisher checks auth.oidc in moat.yaml
  'CERTIFICATE_REQUIRED', // the name asks for a client certificate of its authorities, and this connection showed none | connect anew with the certificate
  'SIGN_IN_EXPIRED', // a question to a key was not asked here, is over, or was answered before | sign in anew
  'ADDRESS_REFUSED', // the rules of this name do not let this client address in | ask the publisher; the rule is from: in moat.yaml
  'NAME_BUSY', // as many requests under this name run as its publisher lets run at once | retry later
  'NAME_CLOSED', // its publisher closed the name for maintenance | come back later; the rule is maintenance: in moat.yaml
  'MEMBERS_RESTING', // what serves the name failed so often in a row that it gets nothing for a while | retry later; look at the service; the rule is breaker: in moat.yaml
  'DEPLOYMENT_BUSY', // as many requests of this deployment run as the gateway lets one have | retry later; ask the operator for more
  'GATEWAY_BUSY', // a bound of the gateway is met | retry later
  'GATEWAY_STOPPING', // the gateway is going down, and takes nothing new | retry; members go on serving their names at other gateways
  // Ends of streams, in the log only.
  'CLIENT_GONE', // the client left before the end | nothing to do
  'CONNECTION_IDLE', // nothing moved on a connection that is passed on unread for longer than this gateway waits | keep it alive from one side, or ask the operator for a longer `tunnelIdleTime`
  'CLIENT_STALLED', // the client neither sent nor read for too long | nothing to do
  'NAME_WITHDRAWN', // the name was unpublished while a stream ran | nothing to do
] as const;

export type GatewayErrorCode = (typeof GATEWAY_ERROR_CODES)[number];

/** A coded refusal of the gateway. */
export function refusal(
  code: GatewayErrorCode,
  message: string,
  options: { readonly details?: ErrorDetails; readonly cause?: unknown; readonly retryable?: boolean } = {},
): MoatError<GatewayErrorCode> {
  return new MoatError<GatewayErrorCode>(code, message, options);
}
