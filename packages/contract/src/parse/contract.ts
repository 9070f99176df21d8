/** The contract's own shape. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { Contract, Egress, GatewayPin, Grant, Member, PublishLine, Service } from '../schema.ts';
import {
  boxKey,
  deploymentId,
  directAddr,
  heir,
  hostName,
  label,
  ownerKey,
  peerId,
  port,
  random16,
  selector,
  setOf,
  target,
  time,
  urlPath,
  version,
  wireguardKey,
} from './fields.ts';
import { knownMembers } from './known-members.ts';
import { ownersSchema } from './owners.ts';
import { publishAuthSchema } from './publish-auth.ts';
import { publishRulesSchema } from './publish-rules.ts';

const memberSchema: z.ZodType<Member> = z.strictObject({
  name: label,
  node: z.exactOptional(peerId),
  via: z.exactOptional(label),
  wireguard: z.exactOptional(wireguardKey),
  ipv4: z.ipv4(),
  tags: setOf(label, CONTRACT_LIMITS.tagsPerMember),
  keeper: z.exactOptional(z.literal(true)),
  invite: z.exactOptional(z.strictObject({ key: ownerKey, expires: time })),
  expires: z.exactOptional(time),
});

const memberList = z.array(memberSchema).min(1).max(CONTRACT_LIMITS.members);

/** As `memberList` has it; a member that stood like this in an earlier contract is not judged again. */
const members: z.ZodType<Member[]> = z.transform((input, { issues }) => {
  const known = knownMembers(input, memberSchema);
  if (known !== undefined) return known;
  const result = memberList.safeParse(input);
  if (result.success) return result.data;
  issues.push(...(result.error.issues as z.core.$ZodRawIssue[]));
  return z.NEVER;
});

const serviceSchema: z.ZodType<Service> = z.strictObject({
  name: label,
  on: setOf(selector, CONTRACT_LIMITS.selectors, 1),
  port,
  target,
  protocol: z.enum(['tcp', 'http', 'grpc', 'udp']),
  health: z.exactOptional(urlPath),
  proxyProtocol: z.exactOptional(z.literal('v2')),
});

const grantSchema: z.ZodType<Grant> = z.strictObject({
  from: setOf(selector, CONTRACT_LIMITS.selectors, 1),
  to: setOf(label, CONTRACT_LIMITS.selectors, 1),
  expires: z.exactOptional(time),
});

const egressSchema: z.ZodType<Egress> = z.strictObject({
  from: setOf(selector, CONTRACT_LIMITS.selectors, 1),
  via: label,
  expires: z.exactOptional(time),
});

const gatewaySchema: z.ZodType<GatewayPin> = z.strictObject({
  domain: hostName,
  peers: setOf(directAddr, CONTRACT_LIMITS.peers, 1),
  box: z.exactOptional(boxKey),
});

const publishSchema: z.ZodType<PublishLine> = z.strictObject({
  name: hostName,
  salt: random16,
  service: label,
  tls: z.enum(['terminate', 'passthrough']),
  port: z.exactOptional(port),
  transfer: z.exactOptional(heir),
  gateway: gatewaySchema,
  auth: z.exactOptional(publishAuthSchema),
  rules: z.exactOptional(publishRulesSchema),
});

export const contractSchema: z.ZodType<Contract> = z.strictObject({
  type: z.literal('moat/contract/1'),
  deployment: deploymentId,
  name: label,
  version,
  owners: ownersSchema,
  anchors: setOf(directAddr, CONTRACT_LIMITS.anchors),
  network: z.strictObject({
    ipv4: z.string().max(18),
    plane: z.enum(['auto', 'wireguard', 'rootless']),
    maxStale: z.exactOptional(z.int().min(3_600_000)),
    postQuantum: z.exactOptional(z.enum(['prefer', 'require'])),
  }),
  members,
  services: z.array(serviceSchema).max(CONTRACT_LIMITS.services),
  access: z.array(grantSchema).max(CONTRACT_LIMITS.grants),
  // One way to say that there is none.
  egress: z.exactOptional(z.array(egressSchema).min(1).max(CONTRACT_LIMITS.egress)),
  publish: z.array(publishSchema).max(CONTRACT_LIMITS.publications),
  state: z.enum(['active', 'ended']),
});
