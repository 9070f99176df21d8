/** Every code this package raises or answers with. Beside each: what it means | what to do. */
export const CONTRACT_ERROR_CODES = [
  'NOT_CANONICAL', // a value has no RFC 8785 form: NaN, undefined, a lone surrogate, too deep | report it: Moat never makes such a value
  'CONTRACT_INVALID', // a contract or another signed object breaks a rule named in the message | correct that field; nothing was changed
  'CONTRACT_TOO_NEW', // it has fields or a type this Moat does not know; what runs is kept | update Moat on this machine
  'ADDRESS_INVALID', // an address or multiaddr is malformed, reserved, taken or outside the network | correct the address named in the message
  'ADDRESS_EXHAUSTED', // the network has no free address left | choose a larger network.ipv4 or remove members
  'GENESIS_MISMATCH', // the objects shown belong to another deployment | check which deployment the file, token or peer is for
  'HEAD_MISMATCH', // a contract is not the one its head describes | ask again from another member; the sender altered one of them
  'HEAD_FORGED', // a head carries no valid signatures of the owners known here | nothing was changed; find out who sent it
  'HEAD_FORKED', // two different heads were signed at one version, or a head does not follow ours | the owners sign a version that ends the fork; until then what runs is kept
  'QUORUM_MISSING', // valid signatures, but fewer than the owners' threshold | collect more signatures with moat sign
  'VERSION_OLD', // a version below the newest one seen here was shown | fetch the newest version; nothing was changed
  'VERSION_GAP', // a version does not follow the current one directly | plan again on top of the newest version
  'DEPLOYMENT_ENDED', // the owners ended this deployment for ever | make a new one with moat init
  'PROPOSAL_STALE', // the version proposed does not follow the current one: somebody applied in between | plan again on top of the newest version and propose that
  'OWNER_UNKNOWN', // no owner of that name or key | moat plan shows the owners
  'SIGN_IN_INVALID', // no key that may come in signed this question of this name | sign in anew; ask the publisher to name your key in auth.keys
  'OWNER_PROOF_INVALID', // who connected did not prove to be an owner: signature, connection or time are wrong | check the owner key and this machine's clock, then connect again
  'RECEIPT_FORGED', // a receipt is not signed by the machine it names | nothing was changed; the machine that passed it on altered it
  'TOKEN_INVALID', // the text is no join token or a damaged one | copy the whole token again or ask for a new one
  'INVITE_UNKNOWN', // the head shown does not reach the version the token was made for | try again once a keeper has that version, or ask for a new token
  'CLAIM_FORGED', // a claim's signatures or details do not verify | nothing was changed; join again with a fresh token
  'WITNESS_INVALID', // a claim's witness is no pinned keeper, came too late or does not verify | join again through a pinned keeper
  'MEMBER_UNKNOWN', // no member of that name or PeerId | check the name with moat status
  'MEMBER_EXPIRED', // the membership has ended | an owner extends expires and applies
  'DEVICE_UNFIT', // a member cannot be a device with stock WireGuard: it has a place for a machine, or the one it is behind has no key | correct what the message names
  'SERVICE_UNKNOWN', // no service of that name | check the name with moat status
  'GRANT_DENIED', // no line of the access list allows it; the default is deny | an owner adds an access line and applies
  'GRANT_EXPIRED', // the only lines that would allow it have expired | an owner renews the access line and applies
  'PUBLICATION_FORGED', // a publication is not among those the newest head signs | apply again at the owner; the sender altered it
  'PUBLICATION_WITHDRAWN', // a publication was signed once, but the newest head no longer lists it | publish it again
  'PUBLICATION_ELSEWHERE', // a publication names other gateways than this one | publish at this gateway, or dial the one it names
  'PUBLISHER_UNKNOWN', // the node that shows publications holds no place they list | join the deployment first, or wait until its place is witnessed
  'OWNER_UNRESOLVED', // an owner is written as @handle, and nobody or more than one of that handle was found | let them announce it, or write their key: moat key show prints it
  'DIRECTORY_FORGED', // an entry of the directory is not signed by whom it names | nothing was taken; the machine that passed it on altered it
  'DIRECTORY_EXPIRED', // an entry of the directory is past its time, or claims too long a life | sign it anew; check the clock
  'GATEWAY_PEERS_FORGED', // a gateway's list of its machines is not signed by all that it replaces | keep the pinned ones; ask the gateway's operator, who may have you pin it anew
  'SECRET_UNREADABLE', // a boxed secret was made for another gateway, name or deployment, or altered | the publisher applies again, so that it is boxed for this gateway's key
  'USERS_INVALID', // a file of users is not lines of user:$scrypt$… | make each line with `moat password USER`
  // About a deployment file (moat.yaml); with its line and column.
  'FILE_TOO_LARGE', // the file is larger than 1 MiB | split the deployment, or remove what it does not need
  'FILE_SYNTAX', // the file is not one YAML document, or is nested or aliased too deep | correct the line shown
  'FILE_INVALID', // a field of the file is missing or has a value it cannot have | correct the line shown
  'FIELD_UNKNOWN', // the file has a field this format does not know | correct its name; the message lists the known ones
  'REFERENCE_UNKNOWN', // the file names a member, tag or service it does not have | correct the name, or add what it names
  'DUPLICATE', // the file has a name, key, address, port or entry twice | remove one of them
  'OWNERS_UNREACHABLE', // all owners together do not reach the threshold, or there is no owner | lower owners.threshold or add keys
  'KEEPER_MISSING', // no member is a keeper, or none that is has a machine | mark a member that is always on keeper: true and pin its machine (node:)
  'GATEWAY_UNRESOLVED', // a gateway's domain did not answer with a valid identity | check the domain and that its gateway runs, or write { domain, peers, box }
  'GATEWAY_BOX_MISSING', // a gateway shows no key that secrets could be boxed for, so none can be sent to it | update the gateway, or leave auth out of the line
  'AUTH_UNENFORCEABLE', // a line says enforce: member and names a way in that members cannot check: they see neither the handshake nor the provider | leave enforce out and let the gateway ask, or use basic and keys
  'SECRET_MISSING', // a publish line needs a secret that is not in its file and not in the running version | check the path of auth.basic.file, from the directory of moat.yaml, then apply
  'ANCHOR_UNRESOLVED', // an anchor's domain did not answer with a valid identity | check the domain and that its node runs, or write an address that ends in /p2p/<PeerId>
] as const;

export type ContractErrorCode = (typeof CONTRACT_ERROR_CODES)[number];
