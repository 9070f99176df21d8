/**
 * Who may publish here: what gateway.yaml says, what the operator allowed or denied since, and invite codes, each
 * good for so many deployments until it expires. Every change is on disk before it counts, and counts at once.
 * Bound: `maxRules` deployments and `maxInvites` open codes; one more is refused, nothing that is there is dropped.
 */
import type { Clock, DeploymentId, PeerId } from '@moat/core';
import type { AuditEvent } from '../audit/chain.ts';
import type { Publishers } from '../config.ts';
import { refusal } from '../errors.ts';
import type { GatewayStore, InviteRecord, PublisherRecord } from '../store/store.ts';
import { createInviteCode, hashOfInviteCode, inviteId } from './invite-code.ts';

export interface PublisherBookDeps {
  readonly clock: Clock;
  readonly store: Pick<GatewayStore, 'publishers' | 'invites' | 'commit'>;
}

export interface PublisherBookOptions {
  readonly publishers: Publishers;
  readonly namesPerDeployment: number;
  /** @defaultValue 100000 */
  readonly maxRules?: number;
  /** @defaultValue 10000 */
  readonly maxInvites?: number;
}

export interface NewInvite {
  /** Names each deployment may hold; null = what the gateway allows. */
  readonly names: number | null;
  /** Deployments that may use it. */
  readonly uses: number;
  readonly expiresMs: number;
}

const DEFAULT_MAX_RULES = 100_000;
const DEFAULT_MAX_INVITES = 10_000;

export class PublisherBook {
  readonly #deps: PublisherBookDeps;
  readonly #options: PublisherBookOptions;
  readonly #rules: Map<DeploymentId, PublisherRecord>;
  /** By hash of the code. */
  readonly #invites: Map<string, InviteRecord>;

  constructor(deps: PublisherBookDeps, options: PublisherBookOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#rules = new Map(deps.store.publishers().map((record) => [record.deployment, record]));
    this.#invites = new Map(deps.store.invites().map((record) => [record.hash, record]));
  }

  /** What the operator decided about deployments, oldest first. */
  rules(): PublisherRecord[] {
    return [...this.#rules.values()].sort((a, b) => a.sinceMs - b.sinceMs);
  }

  /** Codes that somebody may still use. */
  openInvites(): InviteRecord[] {
    return [...this.#invites.values()].filter((invite) => this.#isOpen(invite));
  }

  mayPublish(deployment: DeploymentId): boolean {
    const rule = this.#rules.get(deployment)?.rule;
    if (rule !== undefined) return rule === 'allow';
    const { publishers } = this.#options;
    return publishers === 'open' || (publishers !== 'invited' && publishers.allow.includes(deployment));
  }

  /** True for whom the operator named or gave a code; where anybody may publish, the others are strangers. */
  isKnown(deployment: DeploymentId): boolean {
    return this.#rules.get(deployment)?.rule === 'allow' || this.#options.publishers !== 'open';
  }

  /** @throws `PUBLISHER_NOT_INVITED`, `PUBLISHER_REFUSED` */
  require(deployment: DeploymentId): void {
    if (this.mayPublish(deployment)) return;
    const details = { deployment };
    if (this.#rules.get(deployment)?.rule === 'deny') {
      throw refusal('PUBLISHER_REFUSED', `the operator of this gateway denied deployment ${deployment}`, { details });
    }
    const remedy = `its operator can type: moat gateway allow ${deployment}`;
    if (this.#options.publishers === 'invited') {
      const message = `this gateway serves those its operator invited, and deployment ${deployment} is not; ${remedy}`;
      throw refusal('PUBLISHER_NOT_INVITED', message, { details });
    }
    const message = `this gateway does not serve deployment ${deployment}; ${remedy}`;
    throw refusal('PUBLISHER_REFUSED', message, { details });
  }

  /** How many names the deployment may hold. */
  namesOf(deployment: DeploymentId): number {
    return this.#rules.get(deployment)?.names ?? this.#options.namesPerDeployment;
  }

  /** @throws `GATEWAY_BUSY`, and what the store throws */
  decide(deployment: DeploymentId, rule: PublisherRecord['rule'], names: number | null): PublisherRecord {
    const invite = rule === 'allow' ? (this.#rules.get(deployment)?.invite ?? null) : null;
    const action = rule === 'allow' ? 'publisher.allowed' : 'publisher.denied';
    const event: AuditEvent = { action, actor: 'operator', subject: deployment, details: { names } };
    return this.#keep({ deployment, rule, names, invite, sinceMs: this.#deps.clock.now() }, event);
  }

  /** Makes a code; it is returned this once. @throws `GATEWAY_BUSY`, and what the store throws */
  invite({ names, uses, expiresMs }: NewInvite): { readonly code: string; readonly record: InviteRecord } {
    this.dropClosed();
    if (this.#invites.size >= (this.#options.maxInvites ?? DEFAULT_MAX_INVITES)) {
      throw refusal('GATEWAY_BUSY', 'as many codes as may be are open; one of them has to expire first');
    }
    const code = createInviteCode();
    const hash = hashOfInviteCode(code) ?? '';
    const record = { hash, names, uses, used: 0, createdMs: this.#deps.clock.now(), expiresMs };
    const details = { names, uses, expires: new Date(expiresMs).toISOString() };
    const event: AuditEvent = { action: 'invite.made', actor: 'operator', subject: inviteId(hash), details };
    this.#deps.store.commit({ invites: [record], audit: [event] });
    this.#invites.set(hash, record);
    return { code, record };
  }

  /**
   * Spends a code on a deployment; the same code on the same deployment again changes nothing.
   * @param actor who brings it, for the audit log
   * @throws `CODE_INVALID`, `PUBLISHER_REFUSED`, `GATEWAY_BUSY`, and what the store throws
   */
  redeem(deployment: DeploymentId, code: string, actor: PeerId): void {
    const hash = hashOfInviteCode(code.trim());
    const rule = this.#rules.get(deployment);
    if (hash !== undefined && rule?.invite === hash && rule.rule === 'allow') return;
    const invite = hash === undefined ? undefined : this.#invites.get(hash);
    if (invite === undefined || !this.#isOpen(invite)) {
      throw refusal('CODE_INVALID', 'this gateway does not know the invite code, or it has expired or was used');
    }
    // No code undoes what the operator denied.
    if (rule?.rule === 'deny') this.require(deployment);
    const used = { ...invite, used: invite.used + 1 };
    const names = rule?.names ?? invite.names;
    const details = { code: inviteId(invite.hash), used: used.used, uses: used.uses };
    const event: AuditEvent = { action: 'invite.redeemed', actor, subject: deployment, details };
    this.#keep({ deployment, rule: 'allow', names, invite: invite.hash, sinceMs: this.#deps.clock.now() }, event, used);
  }

  /** Forgets codes nobody can use any more. */
  dropClosed(): void {
    const closed = [...this.#invites.values()].filter((invite) => !this.#isOpen(invite)).map(({ hash }) => hash);
    if (closed.length === 0) return;
    this.#deps.store.commit({ removedInvites: closed });
    for (const hash of closed) this.#invites.delete(hash);
  }

  #keep(rule: PublisherRecord, event: AuditEvent, invite?: InviteRecord): PublisherRecord {
    if (!this.#rules.has(rule.deployment) && this.#rules.size >= (this.#options.maxRules ?? DEFAULT_MAX_RULES)) {
      throw refusal('GATEWAY_BUSY', 'this gateway keeps rules for as many deployments as it may');
    }
    const invites = invite === undefined ? [] : [invite];
    this.#deps.store.commit({ publishers: [rule], invites, audit: [event] });
    this.#rules.set(rule.deployment, rule);
    if (invite !== undefined) this.#invites.set(invite.hash, invite);
    return rule;
  }

  #isOpen({ used, uses, expiresMs }: InviteRecord): boolean {
    return used < uses && this.#deps.clock.now() < expiresMs;
  }
}
