/** Several owners of one deployment, each with a key of their own, at machines of their own. */
import { randomBytes } from 'node:crypto';
import {
  createGenesis,
  createOwnerProof,
  deploymentIdOf,
  encodeToken,
  headHash,
  ownerSetOf,
  parseContract,
  parseHeadProof,
  parseProposal,
  proposalOf,
  signProposal,
  type Contract,
  type Genesis,
  type HeadProof,
  type Member,
  type Proposal,
} from '@moat/contract';
import type { DeploymentDetail, OwnerSession } from '@moat/admin-api';
import { createOwnerKey, type OwnerKeyPair } from '@moat/identity';
import type { Agent, Draft } from './world.ts';

/** A machine as its local API shows it. */
export type Machine = Pick<Agent, 'client' | 'peerId'>;

type Owners = Contract['owners'];

export class Team {
  readonly keys: readonly OwnerKeyPair[];
  readonly threshold: number;
  readonly genesis: Genesis;

  constructor(count: number, threshold: number) {
    this.keys = Array.from({ length: count }, () => createOwnerKey());
    this.threshold = threshold;
    this.genesis = createGenesis(ownerSetOf(this.owners()), randomBytes(16));
  }

  get id(): string {
    return deploymentIdOf(this.genesis);
  }

  key(i: number): OwnerKeyPair {
    const key = this.keys[i];
    if (key === undefined) throw new Error(`no owner ${i}`);
    return key;
  }

  /** Those of `which`, by their place in the team. */
  owners(which: readonly number[] = [...this.keys.keys()], threshold: number = this.threshold): Owners {
    return { threshold, keys: which.map((i) => ({ name: `owner-${i}`, key: this.key(i).key, weight: 1 })) };
  }

  /** Version 0, signed by as many as it takes, held by `agent`. */
  async create(agent: Machine, members: readonly Member[], anchors: readonly string[] = []): Promise<void> {
    const contract = parseContract({
      type: 'moat/contract/1',
      deployment: this.id,
      name: 'shop',
      version: 0,
      owners: this.owners(),
      anchors,
      network: { ipv4: '10.77.0.0/16', plane: 'rootless' },
      members,
      services: [],
      access: [],
      publish: [],
      state: 'active',
    });
    const signers = [...this.keys.keys()].slice(0, this.threshold);
    const { head, signatures } = this.sign(proposalOf(null, contract), ...signers);
    const [genesis, signed] = [{ ...this.genesis }, { head, signatures }];
    await agent.client.createDeployment({ genesis, contract: { ...contract }, signed });
  }

  /** The next version as `agent` sees it now, signed by some. */
  async propose(
    agent: Machine,
    draft: Draft & { readonly owners?: Owners },
    ...signers: readonly number[]
  ): Promise<Proposal> {
    const { contract, proof } = await held(agent, this.id);
    const next = parseContract({ ...contract, ...draft, version: contract.version + 1 });
    return this.sign(proposalOf({ contract, head: proof.newest.head, proof }, next), ...signers);
  }

  sign(proposal: Proposal, ...signers: readonly number[]): Proposal {
    return signers.reduce((signed, i) => signProposal(signed, this.key(i).signer), proposal);
  }

  /** Applies a version that is signed by all it takes, as `moat apply` does. */
  async apply(agent: Machine, draft: Draft, offline = false): ReturnType<Agent['client']['submitVersion']> {
    const signers = [...this.keys.keys()].slice(0, this.threshold);
    return submit(agent, await this.propose(agent, draft, ...signers), offline);
  }

  /** An owner at `agent` proves to be one to a keeper. */
  async session(agent: Machine, owner: number, where: { readonly locator?: string } = {}): Promise<OwnerSession> {
    const request = where.locator === undefined ? { deployment: this.id } : { locator: where.locator };
    const asked = await agent.client.ownerChallenge(request);
    const { challenge, deployment, dialer, keeper, time } = asked;
    if (challenge === null || keeper === null) throw new Error('this machine is a keeper');
    const signed = createOwnerProof({ deployment, dialer, keeper, time }, this.key(owner).signer);
    return agent.client.openOwnerSession({ challenge, signed: { ...signed } });
  }
}

export async function submit(
  agent: Machine,
  { contract, head, signatures, seal }: Proposal,
  offline = false,
): ReturnType<Agent['client']['submitVersion']> {
  return agent.client.submitVersion(contract.deployment, {
    contract: { ...contract },
    signed: { head, signatures },
    offline,
    ...(seal === undefined ? {} : { seal: { ...seal } }),
  });
}

/** What an agent holds, parsed. */
export async function held(
  agent: Machine,
  id: string,
): Promise<{ readonly detail: DeploymentDetail; readonly contract: Contract; readonly proof: HeadProof }> {
  const detail = await agent.client.deployment(id);
  return { detail, contract: parseContract(detail.contract), proof: parseHeadProof(detail.proof) };
}

/** A proposal as it waits at the keeper that `agent` speaks to. */
export async function waiting(agent: Machine, id: string, proposal: string): Promise<Proposal> {
  return parseProposal((await agent.client.proposal(id, proposal)).proposal);
}

/** Where the keepers are, for owners. */
export async function locatorOf(agent: Machine, id: string): Promise<string> {
  const { detail, proof } = await held(agent, id);
  const { head } = proof.newest;
  return encodeToken({
    deployment: id,
    version: head.version,
    head: headHash(head),
    keepers: detail.keepers,
    anchors: [],
  });
}

/** A member pinned to an agent. */
export async function pin(agent: Machine, name: string, host: number, more: Partial<Member> = {}): Promise<Member> {
  return { name, node: await agent.peerId(), ipv4: `10.77.0.${host}`, tags: [], ...more };
}
