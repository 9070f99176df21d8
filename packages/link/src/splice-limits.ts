/** What one anchor gives to strangers who splice. An address is an IPv4 address or the /64 of an IPv6 address. */
export interface SpliceLimits {
  /** Pairs of ids a second that one PeerId, and one address, may ask for; more are refused. @defaultValue 16 */
  readonly asksPerSecond: number;
  /** Pairs given out and not joined; more are refused. @defaultValue 1024 */
  readonly pending: number;
  /** The same of one PeerId. @defaultValue 8 */
  readonly pendingPerPeer: number;
  /** The same of one address. @defaultValue 64 */
  readonly pendingPerAddress: number;
  /** Milliseconds for both sockets to come; the first is dropped when the second does not. @defaultValue 10000 */
  readonly waitMs: number;
  /** Splices that run; beyond it no pair is given out. @defaultValue 512 */
  readonly joined: number;
  /** The same of one PeerId, who asked for the pair. @defaultValue 32 */
  readonly joinedPerPeer: number;
  /** The same of one address. @defaultValue 128 */
  readonly joinedPerAddress: number;
  /** Milliseconds without a byte either way after which a splice ends; a link's own pings are shorter. @defaultValue 300000 */
  readonly idleMs: number;
  /** Milliseconds after which a splice ends whatever it does. @defaultValue 86400000 */
  readonly lifeMs: number;
  /** Bytes a second, both directions together, of one PeerId; who sends more is slowed down. @defaultValue 268435456 */
  readonly bytesPerSecondPerPeer: number;
  /** The same of one address. @defaultValue 536870912 */
  readonly bytesPerSecondPerAddress: number;
}

const MIB = 1024 * 1024;

export const DEFAULT_SPLICE_LIMITS: SpliceLimits = {
  asksPerSecond: 16,
  pending: 1024,
  pendingPerPeer: 8,
  pendingPerAddress: 64,
  waitMs: 10_000,
  joined: 512,
  joinedPerPeer: 32,
  joinedPerAddress: 128,
  idleMs: 300_000,
  lifeMs: 24 * 3600 * 1000,
  bytesPerSecondPerPeer: 256 * MIB,
  bytesPerSecondPerAddress: 512 * MIB,
};
