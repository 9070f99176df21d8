/** WireGuard as far as paths can tell, in a {@link UdpWorld}: sessions, rekeys, keepalives, roaming, preshared keys. */
import type { Clock, Endpoint, PeerChange, Timer, TunnelPeerState, TunnelSpec, Tunnels } from '@moat/core';

import type { Packet, WorldHost } from './udp-world.ts';

const REKEY_AFTER_MS = 120_000;
const REJECT_AFTER_MS = 180_000;
const REKEY_TIMEOUT_MS = 5_000;

interface Session {
  readonly id: string;
  readonly at: number;
  readonly initiator: boolean;
}

interface Peer {
  readonly publicKey: string;
  endpoint: Endpoint | null;
  handshakeAt: number | null;
  received: number;
  sent: number;
  keepaliveSeconds: number;
  psk: string | null;
  sessions: Session[];
  initiatedAt: number;
  lastDataSentAt: number | null;
  keepaliveTimer: Timer | undefined;
  retryTimer: Timer | undefined;
  silenceTimer: Timer | undefined;
}

let sessions = 0;

/** One interface named `tunnel`. */
export class WorldTunnels implements Tunnels {
  readonly backend = 'memory';
  readonly publicKey: string;
  readonly host: WorldHost;
  readonly port: number;
  readonly #clock: Clock;
  readonly #peers = new Map<string, Peer>();
  readonly #probes = new Map<string, { readonly endpoint: Endpoint; timer: Timer }>();
  /** Called for each packet of a program that arrived. */
  onPacket: (from: string, bytes: number) => void = () => undefined;
  looks = 0;

  constructor(host: WorldHost, publicKey: string, port = 51_820) {
    this.host = host;
    this.publicKey = publicKey;
    this.port = port;
    this.#clock = host.world.clock;
    host.listen(port, (packet, source) => this.#receive(packet, source));
  }

  addPeer(publicKey: string): void {
    this.#peers.set(publicKey, {
      publicKey,
      endpoint: null,
      handshakeAt: null,
      received: 0,
      sent: 0,
      keepaliveSeconds: 0,
      psk: null,
      sessions: [],
      initiatedAt: -Infinity,
      lastDataSentAt: null,
      keepaliveTimer: undefined,
      retryTimer: undefined,
      silenceTimer: undefined,
    });
  }

  pskOf(publicKey: string): string | null {
    return this.#peer(publicKey).psk;
  }

  /** A program's packet. */
  send(publicKey: string, bytes = 100): void {
    const peer = this.#peer(publicKey);
    this.#transmit(peer, 32 + bytes);
    peer.lastDataSentAt ??= this.#clock.now();
    // WireGuard: nothing heard for 15 s after data was sent = a new handshake.
    peer.silenceTimer ??= this.#clock.after(15_000, () => this.#initiate(peer));
  }

  apply(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  cut(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  peers(): Promise<readonly TunnelPeerState[]> {
    this.looks += 1;
    return Promise.resolve(
      [...this.#peers.values()].map(({ publicKey, endpoint, handshakeAt, received, sent, keepaliveSeconds }) => ({
        publicKey,
        allowedIps: ['10.77.0.9/32'],
        endpoint,
        handshakeAt,
        received,
        sent,
        keepaliveSeconds,
      })),
    );
  }

  async setPeer(_name: string, publicKey: string, change: PeerChange): Promise<void> {
    const peer = this.#peer(publicKey);
    if (change.endpoint !== undefined) peer.endpoint = change.endpoint;
    if (change.presharedKey !== undefined) peer.psk = change.presharedKey;
    if (change.keepaliveSeconds === undefined) return;
    const wasOff = peer.keepaliveSeconds === 0;
    peer.keepaliveSeconds = change.keepaliveSeconds;
    peer.keepaliveTimer?.cancel();
    peer.keepaliveTimer = undefined;
    if (change.keepaliveSeconds > 0) {
      if (wasOff) this.#transmit(peer, 32);
      this.#armKeepalive(peer);
    }
  }

  async probe(_name: string, publicKey: string, endpoint: Endpoint): Promise<void> {
    this.#probes.get(publicKey)?.timer.cancel();
    const send = (): void => {
      this.host.send(this.port, endpoint, this.#packet('initiation', publicKey, '', null, 148));
      this.#probes.set(publicKey, { endpoint, timer: this.#clock.after(REKEY_TIMEOUT_MS, send) });
    };
    send();
  }

  async endProbe(_name: string, publicKey: string): Promise<void> {
    this.#probes.get(publicKey)?.timer.cancel();
    this.#probes.delete(publicKey);
  }

  get probes(): number {
    return this.#probes.size;
  }

  list(): Promise<readonly string[]> {
    return Promise.resolve(['tunnel']);
  }

  remove(): Promise<void> {
    return Promise.resolve();
  }

  spec(): TunnelSpec | undefined {
    return undefined;
  }

  #peer(publicKey: string): Peer {
    const peer = this.#peers.get(publicKey);
    if (peer === undefined) throw new Error(`no peer ${publicKey}`);
    return peer;
  }

  #armKeepalive(peer: Peer): void {
    peer.keepaliveTimer = this.#clock.after(peer.keepaliveSeconds * 1_000, () => {
      this.#transmit(peer, 32);
      this.#armKeepalive(peer);
    });
  }

  #packet(kind: Packet['kind'], key: string, session: string, psk: string | null, bytes: number): Packet {
    return { kind, key, from: this.publicKey, session, psk, bytes };
  }

  #transmit(peer: Peer, bytes: number): void {
    if (peer.endpoint === null) return;
    const now = this.#clock.now();
    const session = peer.sessions[0];
    if (session === undefined || now - session.at >= REJECT_AFTER_MS) return this.#initiate(peer);
    peer.sent += bytes;
    this.host.send(this.port, peer.endpoint, this.#packet('data', peer.publicKey, session.id, null, bytes));
    if (session.initiator && now - session.at >= REKEY_AFTER_MS) this.#initiate(peer);
  }

  #initiate(peer: Peer): void {
    const now = this.#clock.now();
    if (peer.endpoint === null || now - peer.initiatedAt < REKEY_TIMEOUT_MS) return;
    peer.initiatedAt = now;
    const id = `${this.publicKey} ${++sessions}`;
    peer.sent += 148;
    this.host.send(this.port, peer.endpoint, this.#packet('initiation', peer.publicKey, id, peer.psk, 148));
    peer.retryTimer?.cancel();
    let left = 18;
    const retry = (): void => {
      left -= 1;
      if (left > 0 && !peer.sessions.some(({ at }) => at >= now)) {
        peer.retryTimer = this.#clock.after(REKEY_TIMEOUT_MS, retry);
        this.#initiate(peer);
      }
    };
    peer.retryTimer = this.#clock.after(REKEY_TIMEOUT_MS, retry);
  }

  #receive(packet: Packet, source: Endpoint): void {
    const peer = this.#peers.get(packet.from);
    if (packet.key !== this.publicKey || peer === undefined) return;
    const now = this.#clock.now();
    if (packet.kind === 'initiation') {
      if (packet.psk !== peer.psk) return;
      this.#heard(peer, source, packet.bytes);
      peer.sessions = [{ id: packet.session, at: now, initiator: false }, ...peer.sessions].slice(0, 3);
      peer.handshakeAt = Math.floor(now / 1_000) * 1_000;
      peer.sent += 92;
      this.host.send(this.port, source, this.#packet('response', packet.from, packet.session, peer.psk, 92));
    } else if (packet.kind === 'response') {
      if (packet.psk !== peer.psk) return;
      this.#heard(peer, source, packet.bytes);
      peer.sessions = [{ id: packet.session, at: now, initiator: true }, ...peer.sessions].slice(0, 3);
      peer.handshakeAt = Math.floor(now / 1_000) * 1_000;
      this.#transmit(peer, 32);
    } else if (peer.sessions.some(({ id, at }) => id === packet.session && now - at < REJECT_AFTER_MS)) {
      this.#heard(peer, source, packet.bytes);
      if (packet.bytes > 32) this.onPacket(packet.from, packet.bytes - 32);
    }
  }

  #heard(peer: Peer, source: Endpoint, bytes: number): void {
    peer.received += bytes;
    peer.endpoint = source;
    peer.lastDataSentAt = null;
    peer.silenceTimer?.cancel();
    peer.silenceTimer = undefined;
  }
}
