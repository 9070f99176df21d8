/** What waits for owners, and what members did: proposals, receipts and locators on disk. */
import type { DeploymentId, Hash, PeerId } from '@moat/core';
import { canonicalBytes, parseProposal, parseSignedReceipt, type Proposal, type SignedReceipt } from '@moat/contract';
import type { Database } from './database.ts';

/** A proposal as this keeper holds it. */
export interface StoredProposal {
  readonly id: Hash;
  readonly proposal: Proposal;
  /** Of the whole proposal. */
  readonly bytes: number;
  /** Milliseconds since 1970: when it was first seen. */
  readonly receivedAt: number;
}

export class OwnerStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Oldest first. */
  proposals(deployment: DeploymentId): readonly StoredProposal[] {
    return this.#db
      .all('SELECT id, proposal, received_at FROM proposals WHERE deployment = ? ORDER BY received_at, id', deployment)
      .map((row) => {
        const bytes = row['proposal'] as Uint8Array;
        const proposal = parseProposal(bytes);
        return { id: String(row['id']), proposal, bytes: bytes.length, receivedAt: Number(row['received_at']) };
      });
  }

  /** @param gone proposals of the same deployment that make room for it */
  saveProposal(deployment: DeploymentId, { id, proposal, receivedAt }: StoredProposal, gone: readonly Hash[]): void {
    this.#db.write(() => {
      this.deleteProposals(deployment, gone);
      this.#db.run(
        'INSERT OR REPLACE INTO proposals (deployment, id, proposal, received_at) VALUES (?, ?, ?, ?)',
        deployment,
        id,
        canonicalBytes(proposal),
        receivedAt,
      );
    });
  }

  deleteProposals(deployment: DeploymentId, ids: readonly Hash[]): void {
    if (ids.length === 0) return;
    this.#db.write(() => {
      for (const id of ids) this.#db.run('DELETE FROM proposals WHERE deployment = ? AND id = ?', deployment, id);
    });
  }

  receipts(deployment: DeploymentId): readonly SignedReceipt[] {
    return this.#db
      .all('SELECT receipt FROM member_receipts WHERE deployment = ?', deployment)
      .map((row) => parseSignedReceipt(row['receipt']));
  }

  /** Each replaces the one of the same machine. On disk a little later. */
  saveReceipts(receipts: readonly SignedReceipt[], onFailure: (error: unknown) => void): void {
    const sql = 'INSERT OR REPLACE INTO member_receipts (deployment, node, receipt) VALUES (?, ?, ?)';
    this.#db.soon(() => {
      for (const signed of receipts) {
        this.#db.run(sql, signed.receipt.deployment, signed.receipt.node, JSON.stringify(signed));
      }
    }, onFailure);
  }

  deleteReceipts(deployment: DeploymentId, nodes: readonly PeerId[]): void {
    if (nodes.length === 0) return;
    // What waits to be written would come after.
    this.#db.flush();
    this.#db.write(() => {
      for (const node of nodes) {
        this.#db.run('DELETE FROM member_receipts WHERE deployment = ? AND node = ?', deployment, node);
      }
    });
  }

  /** Deployments held for an owner without a place here, and multiaddrs with `/p2p/` of their keepers. */
  locators(): ReadonlyMap<DeploymentId, readonly string[]> {
    const rows = this.#db.all('SELECT deployment, addresses FROM locators');
    return new Map(rows.map((row) => [String(row['deployment']), JSON.parse(String(row['addresses'])) as string[]]));
  }

  saveLocator(deployment: DeploymentId, addresses: readonly string[]): void {
    this.#db.write(() => {
      const sql = 'INSERT OR REPLACE INTO locators (deployment, addresses) VALUES (?, ?)';
      this.#db.run(sql, deployment, JSON.stringify(addresses));
    });
  }
}
