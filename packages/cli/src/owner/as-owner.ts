/**
 * A deployment as one of its owners sees it. A machine without a place in it is let in by a keeper for as long as the
 * owner's signature over that connection counts: it then has the newest version and can show its own.
 */
import type { DeploymentSummary, OwnerChallengeRequest, OwnerSession } from '@moat/admin-api';
import { createOwnerProof } from '@moat/contract';
import { MoatError, isMoatError } from '@moat/core';
import type { OwnerKeyPair } from '@moat/identity';
import type { Context } from '../context.ts';
import type { LoadedDeployment } from '../deployment/select.ts';

/** Opens the owner's key; asks for a passphrase once at most. */
export type OpenKey = () => Promise<OwnerKeyPair>;

export function openOnce(open: OpenKey): OpenKey {
  let opened: Promise<OwnerKeyPair> | undefined;
  return () => (opened ??= open());
}

export interface AsOwner<Loaded extends LoadedDeployment = LoadedDeployment> extends AsyncDisposable {
  readonly current: Loaded;
}

export interface LoadAsOwnerOptions<Loaded> {
  /** Loaded already: taken where this machine needs no keeper for a newer one. */
  readonly held?: Loaded;
  /** Also for a member: proposals lie at keepers. */
  readonly always?: boolean;
  /** Also where the keeper is on the other branch of a fork: for what ends it. */
  readonly evenForked?: boolean;
}

/**
 * The newest version known. @param load how much of it. @param open used only where this machine needs a keeper's leave.
 * @throws what a keeper refuses an owner with, and where none answers.
 */
export async function loadAsOwner<Loaded extends LoadedDeployment>(
  context: Context,
  load: (context: Context, id: string) => Promise<Loaded>,
  id: string,
  open: OpenKey,
  { always = false, evenForked = false, held: given }: LoadAsOwnerOptions<Loaded> = {},
): Promise<AsOwner<Loaded>> {
  const held = given ?? (await load(context, id));
  if (held.detail.keeper || (held.detail.member !== null && !always)) {
    return { current: held, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  const session = await openSession(context, await open(), { deployment: id }).catch((error: unknown) => {
    if (evenForked && isMoatError(error, 'HEAD_FORKED')) return undefined;
    throw error;
  });
  const current = session === null ? held : await load(context, id);
  return { current, [Symbol.asyncDispose]: () => closeSession(context, session ?? null) };
}

/** Leave to show a version, and why a keeper did not give it. */
export interface OwnerAccess extends AsyncDisposable {
  readonly failure: MoatError | null;
}

/**
 * For a member that is no keeper: the leave to show its version first. Where no keeper answers the agent decides what to
 * do without.
 */
export async function ownerAccess(
  context: Context,
  owner: OwnerKeyPair,
  { id, keeper, member }: DeploymentSummary,
): Promise<OwnerAccess> {
  let session: OwnerSession | null = null;
  let failure: MoatError | null = null;
  try {
    // A machine without a place has opened its session before it read the version.
    if (!keeper && member !== null) session = await openSession(context, owner, { deployment: id });
  } catch (error) {
    if (!isMoatError(error)) throw error;
    failure = error;
  }
  return { failure, [Symbol.asyncDispose]: () => closeSession(context, session) };
}

/** Null where this machine keeps the deployment itself. @throws `OWNER_KEY_FOREIGN` and what the agent answers. */
export async function openSession(
  { agent, progress, io }: Context,
  owner: OwnerKeyPair,
  where: OwnerChallengeRequest,
): Promise<OwnerSession | null> {
  const call = { signal: io.signal };
  const asked = await progress.during('asking a keeper', agent.ownerChallenge(where, call));
  const { challenge, deployment, dialer, keeper, time } = asked;
  if (challenge === null || keeper === null) return null;
  const signed = createOwnerProof({ deployment, dialer, keeper, time }, owner.signer);
  const opening = agent.openOwnerSession({ challenge, signed: { ...signed } }, call);
  try {
    return await progress.during('showing a keeper who you are', opening);
  } catch (error) {
    if (!isMoatError(error) || !['OWNER_REFUSED', 'OWNER_PROOF_INVALID'].includes(error.code)) throw error;
    throw new MoatError('OWNER_KEY_FOREIGN', `the keeper does not know ${owner.key} as an owner's`, {
      cause: error,
      reason: 'an owner is whom the version in force names; and both clocks must agree within five minutes',
      next: [
        'name the key of an owner with --key FILE',
        'who becomes an owner by it signs a file: moat apply --out FILE, and moat sign FILE',
      ],
    });
  }
}

/** The agent ends a session by itself too: it is no failure of the command. */
export async function closeSession({ agent }: Context, session: OwnerSession | null): Promise<void> {
  if (session === null) return;
  await agent.closeOwnerSession(session.session, { timeoutMs: 2000 }).catch(() => undefined);
}
