/** Versions that come from another one rather than from a file: rolled back, ended, with an owner's key replaced. */
import { MoatError, type OwnerKey } from '@moat/core';
import { canonicalize } from './canonical.ts';
import { tagOf } from './selector.ts';
import type { BoxedSecret, Contract, Egress, Owners, PublishAuth, PublishLine } from './schema.ts';

/**
 * The next version with services, access, egress and publications of an older one; members, invites, owners, anchors
 * and the network stay as they are. What the old version says of members that are gone is left out: a rollback
 * never lets in more than both versions together. When nothing differs it is `current` itself.
 * @throws `DEPLOYMENT_ENDED`, `GENESIS_MISMATCH` for a version of another deployment
 */
export function rollbackContract(current: Contract, old: Contract): Contract {
  requireActive(current);
  if (old.deployment !== current.deployment) {
    throw new MoatError('GENESIS_MISMATCH', 'the version to go back to is of another deployment', {
      details: { deployment: current.deployment, version: old.version },
    });
  }
  const members = new Set(current.members.map(({ name }) => name));
  const present = (selectors: readonly string[]): string[] =>
    selectors.filter((selector) => tagOf(selector) !== undefined || members.has(selector));
  const services = old.services
    .map((service) => ({ ...service, on: present(service.on) }))
    .filter(({ on }) => on.length > 0);
  const offered = new Set(services.map(({ name }) => name));
  const access = old.access
    .map((grant) => ({ ...grant, from: present(grant.from), to: grant.to.filter((service) => offered.has(service)) }))
    .filter(({ from, to }) => from.length > 0 && to.length > 0);
  const publish = old.publish
    .filter(({ service }) => offered.has(service))
    .map((line) => ({ ...line, ...pinnedNow(current, line) }));
  const { egress: _, ...rest } = current;
  const next: Contract = {
    ...rest,
    version: current.version + 1,
    services,
    access,
    ...egressOf(current, old, present),
    publish,
  };
  return canonicalize({ ...next, version: current.version }) === canonicalize(current) ? current : next;
}

/** The old version's lines, through members that are still there; a device leaves by the member it is behind now. */
function egressOf(
  { members }: Contract,
  { egress = [] }: Contract,
  present: (selectors: readonly string[]) => string[],
): Pick<Contract, 'egress'> {
  const behind = new Map(members.map(({ name, via }) => [name, via]));
  const lines = egress.flatMap((line): Egress[] => {
    const from = present(line.from).filter((name) => [undefined, line.via].includes(behind.get(name)));
    const stands = behind.has(line.via) && behind.get(line.via) === undefined;
    return stands && from.length > 0 ? [{ ...line, from }] : [];
  });
  return lines.length === 0 ? {} : { egress: lines };
}

/** The version that ends a deployment: nothing follows it. @throws `DEPLOYMENT_ENDED` when it was ended before */
export function endedContract(current: Contract): Contract {
  requireActive(current);
  return { ...current, version: current.version + 1, state: 'ended' };
}

/**
 * The next version with another key for one owner, who keeps weight and, unless given, name.
 * @throws `OWNER_UNKNOWN`, `DEPLOYMENT_ENDED`, `CONTRACT_INVALID` when the new key or name is another owner's
 */
export function replaceOwner(
  current: Contract,
  oldKey: OwnerKey,
  { name, key }: { readonly name?: string; readonly key: OwnerKey },
): Contract {
  requireActive(current);
  const { keys, threshold } = current.owners;
  if (!keys.some((owner) => owner.key === oldKey)) {
    throw new MoatError('OWNER_UNKNOWN', 'that key is no owner of this deployment', {
      details: { deployment: current.deployment, key: oldKey },
    });
  }
  if (keys.some((owner) => owner.key === key || (owner.name === name && owner.key !== oldKey))) {
    throw new MoatError('CONTRACT_INVALID', 'another owner has that key or name already', { details: { key } });
  }
  const replaced: Owners['keys'] = keys.map((owner) =>
    owner.key === oldKey ? { name: name ?? owner.name, key, weight: owner.weight } : owner,
  );
  return { ...current, version: current.version + 1, owners: { threshold, keys: replaced } };
}

/** A gateway's pin and a secret's box follow the gateway: the newest ones known for its domain. */
function pinnedNow(current: Contract, line: PublishLine): Pick<PublishLine, 'gateway' | 'auth'> {
  const there = current.publish.filter(({ gateway }) => gateway.domain === line.gateway.domain);
  const same = there.find(({ name }) => name === line.name);
  const gateway = (same ?? there[0])?.gateway ?? line.gateway;
  const auth = line.auth && withBoxes(line.auth, same?.auth);
  return { gateway, ...(auth === undefined ? {} : { auth }) };
}

/** The same secrets in the boxes they have now. */
function withBoxes(auth: PublishAuth, now: PublishAuth | undefined): PublishAuth {
  const newest = (box: BoxedSecret, other: BoxedSecret | undefined): BoxedSecret =>
    other?.digest === box.digest ? other : box;
  const { basic, oidc } = auth;
  return {
    ...auth,
    ...(basic === undefined ? {} : { basic: newest(basic, now?.basic) }),
    ...(oidc === undefined ? {} : { oidc: { ...oidc, secret: newest(oidc.secret, now?.oidc?.secret) } }),
  };
}

function requireActive({ state, name, deployment }: Contract): void {
  if (state !== 'ended') return;
  throw new MoatError('DEPLOYMENT_ENDED', `${name} was ended by its owners`, { details: { deployment } });
}
