/** What one anchor gives to strangers. */
export interface AnchorLimits {
  /** Reservations held at once; more are refused. @defaultValue 1024 */
  readonly reservations: number;
  /** Reservations from one address. @defaultValue 64 */
  readonly reservationsPerAddress: number;
  /** Milliseconds a reservation lasts; holders renew it. @defaultValue 3600000 */
  readonly reservationMs: number;
  /** Relayed connections at once, in all. @defaultValue 1024 */
  readonly relayed: number;
  /** Relayed connections one PeerId may have running, either end counted. @defaultValue 64 */
  readonly relayedPerPeer: number;
  /** Relayed connections that dialers from one address may have running. @defaultValue 128 */
  readonly relayedPerAddress: number;
  /** Bytes a second that one PeerId may send through, on average. @defaultValue 8388608 */
  readonly bytesPerSecondPerPeer: number;
}
