/** The most a contract may hold. Every list from outside is bounded here, so hostile input costs little. */

/** Bytes of one canonical contract, and of anything else that is parsed here. */
export const MAX_CONTRACT_BYTES = 1_048_576;

/** Entries of each list. */
export const CONTRACT_LIMITS = {
  owners: 32,
  /** Of one owner. */
  weight: 1000,
  anchors: 16,
  members: 2048,
  keepers: 64,
  tagsPerMember: 16,
  services: 512,
  grants: 1024,
  egress: 64,
  publications: 256,
  /** Members that serve and keepers that witness, over all publications: every node hashes them. */
  publishedPlaces: 8192,
  /** Keys, addresses of mail or their domains in one list of who comes in. */
  people: 256,
  /** Bytes of one secret that edge rules need. */
  secretBytes: 16_384,
  /** Of all publications together, secrets included, about: what a gateway is shown fits 1 MiB with its proof. */
  publishedChars: 786_432,
  /** Paths, and parts of clients, that rules of one line lead elsewhere. */
  paths: 64,
  splits: 8,
  /** Address ranges of one `allow` or `deny`. */
  ranges: 256,
  /** Header fields that one rule sets or removes, and characters of one's value. */
  fieldChanges: 32,
  fieldChars: 1024,
  /** Lists by which a gateway changes its PeerIds. */
  gatewayLists: 64,
  /** Entries of one `on`, `from` or `to`. */
  selectors: 256,
  /** Addresses of one gateway, or of the keepers in a token. */
  peers: 16,
  /** Both sides of a succession. */
  signatures: 64,
  successions: 512,
  /** On all successions of a proof together: each costs a stranger nothing and its reader 0.1 ms. */
  proofSignatures: 1024,
  /** Merged branches of a proof, one inside another. */
  mergeDepth: 4,
  /** In one bundle: those on the presenter's places, each three signatures to verify. */
  claims: 16,
} as const;
