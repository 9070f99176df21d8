/** What this machine remembers for itself: consent, forwards, interfaces, addresses, its own claims, gateways it was shown at. */
import type { DeploymentId, OwnerKey, PeerId } from '@moat/core';
import { parseClaimDetails, parseSignedClaim, type ClaimDetails, type SignedClaim } from '@moat/contract';
import type { Exposure } from '@moat/network';
import type { Database } from './database.ts';

/** Peers whose addresses are kept; the least recently learned go first. */
const PEERS_KEPT = 4096;

/** A forward that outlives restarts. */
export interface StoredForward {
  readonly id: string;
  readonly deployment: DeploymentId;
  readonly service: string;
  /** As the operator wrote it. */
  readonly local: string;
}

/** A gateway that was shown a bundle and has not been shown its withdrawal. */
export interface Presented {
  readonly deployment: DeploymentId;
  readonly gateway: PeerId;
  readonly addresses: readonly string[];
}

/** An interface that the operator asked for. */
export interface StoredTunnel {
  readonly deployment: DeploymentId;
  /** Name below /run/netns or a path; null = the agent's own. */
  readonly netns: string | null;
  /** The namespace was made for it, and goes with it. */
  readonly netnsMade: boolean;
  /** Tells the process apart whose namespace a path below /proc is; null for other paths and names. */
  readonly netnsMark: string | null;
  /** UDP. */
  readonly port: number;
  /** CIDR under which the network stands on this machine; null = its own. */
  readonly remap: string | null;
}

/** A claim this machine made; kept so that a retry is the same claim. */
export interface OwnClaim {
  readonly signed: SignedClaim;
  readonly details: ClaimDetails;
}

export class MachineStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  exposed(): readonly Exposure[] {
    return this.#db.all('SELECT deployment, target, public FROM exposed ORDER BY deployment, target').map((row) => ({
      deployment: String(row['deployment']),
      target: String(row['target']),
      public: row['public'] === 1,
    }));
  }

  saveExposed({ deployment, target, public: isPublic }: Exposure): void {
    this.#db.write(() => {
      this.#db.run(
        'INSERT OR REPLACE INTO exposed (deployment, target, public) VALUES (?, ?, ?)',
        deployment,
        target,
        isPublic ? 1 : 0,
      );
    });
  }

  deleteExposed(deployment: DeploymentId, target: string): void {
    this.#db.write(() => this.#db.run('DELETE FROM exposed WHERE deployment = ? AND target = ?', deployment, target));
  }

  forwards(): readonly StoredForward[] {
    return this.#db.all('SELECT id, deployment, service, local FROM forwards ORDER BY id').map((row) => ({
      id: String(row['id']),
      deployment: String(row['deployment']),
      service: String(row['service']),
      local: String(row['local']),
    }));
  }

  saveForward({ id, deployment, service, local }: StoredForward): void {
    this.#db.write(() => {
      this.#db.run(
        'INSERT INTO forwards (id, deployment, service, local) VALUES (?, ?, ?, ?)',
        id,
        deployment,
        service,
        local,
      );
    });
  }

  deleteForward(id: string): void {
    this.#db.write(() => this.#db.run('DELETE FROM forwards WHERE id = ?', id));
  }

  tunnels(): readonly StoredTunnel[] {
    return this.#db
      .all('SELECT deployment, netns, netns_made, netns_mark, port, remap FROM wireguard ORDER BY deployment')
      .map((row) => ({
        deployment: String(row['deployment']),
        netns: textOrNull(row['netns']),
        netnsMade: row['netns_made'] === 1,
        netnsMark: textOrNull(row['netns_mark']),
        port: Number(row['port']),
        remap: textOrNull(row['remap']),
      }));
  }

  saveTunnel({ deployment, netns, netnsMade, netnsMark, port, remap }: StoredTunnel): void {
    this.#db.write(() => {
      this.#db.run(
        'INSERT OR REPLACE INTO wireguard (deployment, netns, netns_made, netns_mark, port, remap) VALUES (?, ?, ?, ?, ?, ?)',
        deployment,
        netns,
        netnsMade ? 1 : 0,
        netnsMark,
        port,
        remap,
      );
    });
  }

  deleteTunnel(deployment: DeploymentId): void {
    this.#db.write(() => this.#db.run('DELETE FROM wireguard WHERE deployment = ?', deployment));
  }

  presented(): readonly Presented[] {
    return this.#db.all('SELECT deployment, gateway, addresses FROM presented').map((row) => ({
      deployment: String(row['deployment']),
      gateway: String(row['gateway']),
      addresses: JSON.parse(String(row['addresses'])) as string[],
    }));
  }

  savePresented({ deployment, gateway, addresses }: Presented): void {
    this.#db.write(() => {
      this.#db.run(
        'INSERT OR REPLACE INTO presented (deployment, gateway, addresses) VALUES (?, ?, ?)',
        deployment,
        gateway,
        JSON.stringify(addresses),
      );
    });
  }

  deletePresented(deployment: DeploymentId, gateway: PeerId): void {
    this.#db.write(() => {
      this.#db.run('DELETE FROM presented WHERE deployment = ? AND gateway = ?', deployment, gateway);
    });
  }

  ownClaim(deployment: DeploymentId, invite: OwnerKey): OwnClaim | undefined {
    const row = this.#db.get(
      'SELECT signed, details FROM own_claims WHERE deployment = ? AND invite = ?',
      deployment,
      invite,
    );
    if (row === undefined) return undefined;
    return { signed: parseSignedClaim(row['signed']), details: parseClaimDetails(row['details']) };
  }

  saveOwnClaim({ signed, details }: OwnClaim, invite: OwnerKey): void {
    this.#db.write(() => {
      this.#db.run(
        'INSERT INTO own_claims (deployment, invite, signed, details) VALUES (?, ?, ?, ?)',
        signed.claim.deployment,
        invite,
        JSON.stringify(signed),
        JSON.stringify(details),
      );
    });
  }

  addresses(): ReadonlyMap<PeerId, readonly string[]> {
    const rows = this.#db.all('SELECT peer, addresses FROM addresses ORDER BY learned_at');
    return new Map(rows.map((row) => [String(row['peer']), JSON.parse(String(row['addresses'])) as string[]]));
  }

  saveAddresses(learned: ReadonlyMap<PeerId, readonly string[]>, learnedAt: number): void {
    this.#db.write(() => {
      for (const [peer, addresses] of learned) {
        this.#db.run(
          'INSERT OR REPLACE INTO addresses (peer, addresses, learned_at) VALUES (?, ?, ?)',
          peer,
          JSON.stringify(addresses),
          learnedAt,
        );
      }
      this.#db.run(
        'DELETE FROM addresses WHERE peer IN (SELECT peer FROM addresses ORDER BY learned_at DESC LIMIT -1 OFFSET ?)',
        PEERS_KEPT,
      );
    });
  }

  /** Newest time verified, in milliseconds since 1970; 0 = none yet. */
  verifiedTime(): number {
    return Number(this.#db.get("SELECT value FROM meta WHERE key = 'verified_time'")?.['value'] ?? 0);
  }

  saveVerifiedTime(timeMs: number): void {
    this.#db.write(() => {
      this.#db.run("INSERT OR REPLACE INTO meta (key, value) VALUES ('verified_time', ?)", String(timeMs));
    });
  }
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
