/** What changes between two versions, as lines people read before they sign. */
import { createHash } from 'node:crypto';
import { canonicalize } from './canonical.ts';
import { formatDuration } from './yaml/duration.ts';
import { RULE_FIELDS, writeRules } from './yaml/file-rules.ts';
import type { Contract, Egress, Grant, Member, OidcAuth, Owners, PublishAuth, PublishLine, Service } from './schema.ts';

/** One line of a plan; `text` has no sign in front, `kind` tells which. */
export interface Change {
  readonly kind: 'add' | 'remove' | 'change';
  /** `members.db-1`, `access[2]`, `publish.shop@apps.example.com`; an index counts in the version that has the entry. */
  readonly path: string;
  readonly text: string;
}

/** From nothing (null) or a version to the next; in the contract's order, removals after what is in the new version. */
export function planChanges(from: Contract | null, to: Contract): Change[] {
  return [
    ...fields(from, to),
    ...named('owners', from?.owners.keys, to.owners.keys, nameOf, describeOwner, ownerFields),
    ...listed('anchors', from?.anchors, to.anchors),
    ...named('members', from?.members, to.members, nameOf, describeMember, memberFields),
    ...named('services', from?.services, to.services, nameOf, describeService, serviceFields),
    ...grants('access', from?.access ?? [], to.access),
    ...grants('egress', from?.egress?.map(asGrant) ?? [], to.egress?.map(asGrant) ?? []),
    ...named('publish', from?.publish, to.publish, publishName, describePublish, publishFields),
  ];
}

/** A field's name and its value in words; undefined where it is absent. */
type FieldTexts = readonly (readonly [name: string, text: string | undefined])[];

function fields(from: Contract | null, to: Contract): Change[] {
  const of = (contract: Contract): FieldTexts => [
    ['name', contract.name],
    ['state', contract.state === 'ended' ? 'ended for ever' : contract.state],
    ['owners.threshold', String(contract.owners.threshold)],
    ['network.ipv4', contract.network.ipv4],
    ['network.plane', contract.network.plane],
    [
      'network.maxStale',
      contract.network.maxStale === undefined ? undefined : formatDuration(contract.network.maxStale),
    ],
    ['network.postQuantum', contract.network.postQuantum],
  ];
  const before = from === null ? [] : of(from);
  return of(to).flatMap(([path, now], i): Change[] => {
    const was = before[i]?.[1];
    if (was === now) return [];
    if (was === undefined) return [{ kind: 'add', path, text: `${path} ${now}` }];
    if (now === undefined) return [{ kind: 'remove', path, text: `${path} ${was}` }];
    return [{ kind: 'change', path, text: `${path} ${was} → ${now}` }];
  });
}

function named<T extends object>(
  section: string,
  from: readonly T[] = [],
  to: readonly T[],
  keyOf: (entry: T) => string,
  describe: (entry: T) => string,
  fieldsOf: (entry: T) => FieldTexts,
): Change[] {
  const before = new Map(from.map((entry) => [keyOf(entry), entry]));
  const after = new Set(to.map(keyOf));
  const changes = to.flatMap((entry): Change[] => {
    const key = keyOf(entry);
    const path = `${section}.${key}`;
    const was = before.get(key);
    if (was === undefined) return [{ kind: 'add', path, text: describe(entry) }];
    if (canonicalize(was) === canonicalize(entry)) return [];
    return [
      { kind: 'change', path, text: `${nounOf(section)} ${key}: ${differences(fieldsOf(was), fieldsOf(entry))}` },
    ];
  });
  const removed = from.filter((entry) => !after.has(keyOf(entry)));
  const order = (entries: readonly T[], others: { has(key: string): boolean }): string =>
    entries
      .map(keyOf)
      .filter((key) => others.has(key))
      .join(' ');
  const moved = order(from, after) !== order(to, before);
  return [
    ...changes,
    ...(moved ? [{ kind: 'change', path: section, text: `${section} in another order` } as const] : []),
    ...removed.map((entry): Change => ({ kind: 'remove', path: `${section}.${keyOf(entry)}`, text: describe(entry) })),
  ];
}

function listed(section: string, from: readonly string[] = [], to: readonly string[]): Change[] {
  const line = (kind: Change['kind'], list: readonly string[], text: string): Change => ({
    kind,
    path: `${section}[${list.indexOf(text)}]`,
    text: `${nounOf(section)} ${text}`,
  });
  return [
    ...to.filter((text) => !from.includes(text)).map((text) => line('add', to, text)),
    ...from.filter((text) => !to.includes(text)).map((text) => line('remove', from, text)),
  ];
}

/** Lines have no names: one is the same when it lets the same members reach the same services, or leave by one member. */
function grants(section: 'access' | 'egress', from: readonly Grant[], to: readonly Grant[]): Change[] {
  const describe = section === 'access' ? describeGrant : describeEgress;
  const before = new Map<string, number[]>();
  for (const [i, grant] of from.entries()) {
    const key = canonicalize([grant.from, grant.to]);
    before.set(key, [...(before.get(key) ?? []), i]);
  }
  const kept = new Set<number>();
  const changes = to.flatMap((grant, i): Change[] => {
    const path = `${section}[${i}]`;
    const same = before.get(canonicalize([grant.from, grant.to]))?.shift();
    if (same === undefined) return [{ kind: 'add', path, text: describe(grant) }];
    kept.add(same);
    const was = from[same]?.expires;
    if (was === grant.expires) return [];
    return [
      {
        kind: 'change',
        path,
        text: `${describe({ ...grant, expires: undefined })}: ${ends(was)} → ${ends(grant.expires)}`,
      },
    ];
  });
  const removed = from.flatMap((grant, i): Change[] =>
    kept.has(i) ? [] : [{ kind: 'remove', path: `${section}[${i}]`, text: describe(grant) }],
  );
  return [...changes, ...removed];
}

function differences(before: FieldTexts, after: FieldTexts): string {
  const changed = after.flatMap(([name, now], i): string[] => {
    const was = before[i]?.[1];
    return was === now ? [] : [`${name} ${was ?? 'none'} → ${now ?? 'none'}`];
  });
  return changed.length === 0 ? 'order' : changed.join(', ');
}

function nounOf(section: string): string {
  return (
    { owners: 'owner', anchors: 'anchor', members: 'member', services: 'service', publish: 'public' }[section] ??
    section
  );
}

function nameOf({ name }: { readonly name: string }): string {
  return name;
}

function publishName({ name, gateway }: PublishLine): string {
  return `${name}@${gateway.domain}`;
}

function ownerFields({ key, weight }: Owners['keys'][number]): FieldTexts {
  return [
    ['key', key],
    ['weight', String(weight)],
  ];
}

function memberFields(member: Member): FieldTexts {
  return [
    ['machine', member.node],
    ['device behind', member.via],
    ['invite', member.invite === undefined ? undefined : `open until ${member.invite.expires}`],
    ['invite key', member.invite?.key],
    ['address', member.ipv4],
    ['tags', member.tags.join(' ') || undefined],
    ['keeper', member.keeper === true ? 'yes' : 'no'],
    ['WireGuard key', member.wireguard],
    ['ends', member.expires],
  ];
}

function serviceFields({ on, port, target, protocol, health, proxyProtocol }: Service): FieldTexts {
  return [
    ['on', on.join(' ')],
    ['port', String(port)],
    ['target', target],
    ['protocol', protocol],
    ['health', health],
    ['PROXY protocol', proxyProtocol],
  ];
}

function publishFields({ service, tls, port, transfer, gateway, salt, auth, rules }: PublishLine): FieldTexts {
  const written = rules === undefined ? {} : writeRules(rules);
  return [
    ['service', service],
    ['tls', tls],
    ['port', port === undefined ? undefined : String(port)],
    ['given to', transfer],
    ['users', auth === undefined ? 'everybody' : describeUsers(auth)],
    ['asked by', auth?.enforce && 'members too'],
    ['boxed for its key', auth?.basic?.box.slice(0, 8)],
    ['sign-in', auth?.oidc && describeOidc(auth.oidc)],
    ['sign-in boxed', auth?.oidc?.secret.box.slice(0, 8)],
    ['client certificates', auth?.mtls && `signed by ${digestOf(auth.mtls.ca)}`],
    ['keys', auth?.keys?.join(' ')],
    ['gateway addresses', gateway.peers.join(' ')],
    ['gateway box key', gateway.box],
    ['salt', salt],
    ...RULE_FIELDS.map((rule) => [rule, textOf(written[rule])] as const),
  ];
}

function describeUsers({ basic, users }: PublishAuth): string | undefined {
  if (users !== undefined) return `list ${digestOf(users)}, which members read`;
  return basic && `list ${basic.digest.slice(0, 8)}`;
}

function describeOidc({ issuer, clientId, secret, emails = [], emailDomains = [] }: OidcAuth): string {
  const who = [...emails, ...emailDomains.map((domain) => `@${domain}`)];
  return `at ${issuer} as ${clientId} (secret ${secret.digest.slice(0, 8)})${who.length === 0 ? '' : ` for ${who.join(' ')}`}`;
}

function describeAuth(auth: PublishAuth | undefined): string {
  if (auth === undefined) return '';
  const ways = [
    ...((auth.basic ?? auth.users) === undefined ? [] : ['a password']),
    ...(auth.oidc === undefined ? [] : [`a sign-in at ${auth.oidc.issuer}`]),
    ...(auth.mtls === undefined ? [] : ['a client certificate']),
    ...(auth.keys === undefined ? [] : [`one of ${auth.keys.length} keys`]),
  ];
  return `, asks for ${ways.join(' or ')}`;
}

/** Short, for a text that is too long for a line. */
function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 8);
}

/** As the file has it, so that the plan speaks the writer's language. */
function textOf(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  return typeof value === 'string' ? value : canonicalize(value);
}

function describeOwner({ name, key, weight }: Owners['keys'][number]): string {
  return `owner ${name} ${key}${weight === 1 ? '' : `, weight ${weight}`}`;
}

function describeMember({ name, ipv4, tags, keeper, node, via, wireguard, invite, expires }: Member): string {
  const keyless = wireguard === undefined ? ', without a key yet' : '';
  const device = via === undefined ? undefined : `device behind ${via}${keyless}`;
  const machine =
    device ??
    (node === undefined ? (invite === undefined ? 'vacant' : `open until ${invite.expires}`) : `machine ${node}`);
  const parts = [
    `member ${name} ${ipv4}`,
    ...(tags.length === 0 ? [] : [`tags ${tags.join(' ')}`]),
    ...(keeper === true ? ['keeper'] : []),
    machine,
    ...(expires === undefined ? [] : [ends(expires)]),
  ];
  return parts.join(', ');
}

function describeService({ name, on, port, target, protocol }: Service): string {
  return `service ${name}:${port} (${protocol}) on ${on.join(' ')}, at ${target} there`;
}

function describeGrant({
  from,
  to,
  expires,
}: Pick<Grant, 'from' | 'to'> & { readonly expires?: string | undefined }): string {
  return `${from.join(' ')} may reach ${to.join(' ')}${expires === undefined ? '' : `, ${ends(expires)}`}`;
}

/** An egress line as a grant of its member. */
function asGrant({ from, via, expires }: Egress): Grant {
  return { from, to: [via], ...(expires === undefined ? {} : { expires }) };
}

function describeEgress({
  from,
  to,
  expires,
}: Pick<Grant, 'from' | 'to'> & { readonly expires?: string | undefined }): string {
  return `${from.join(' ')} may leave to the internet by ${to.join(' ')}${expires === undefined ? '' : `, ${ends(expires)}`}`;
}

function describePublish({ name, service, tls, port, transfer, gateway, auth, rules }: PublishLine): string {
  const written = rules === undefined ? {} : writeRules(rules);
  const said = RULE_FIELDS.flatMap((rule) =>
    written[rule] === undefined ? [] : [`, ${rule} ${textOf(written[rule])}`],
  );
  const host = name.includes('.') ? `${name} at ${gateway.domain}` : `${name}.${gateway.domain}`;
  if (transfer !== undefined) return `${host} is given to ${transfer}, and not public any more`;
  const at = port === undefined ? host : `${host}:${port} (tcp)`;
  return `public ${at} leads to ${service}${tls === 'terminate' || port !== undefined ? '' : `, tls ${tls}`}${describeAuth(auth)}${said.join('')}`;
}

function ends(expires: string | undefined): string {
  return expires === undefined ? 'no end' : `until ${expires}`;
}
