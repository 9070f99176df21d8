/**
 * A deployment file after parsing: short forms are spelled out, defaults filled in, names still names.
 * It says what should be; `buildContract` adds what is (machines, keys, addresses, invites, salts).
 */
import type { PeerId } from '@moat/core';
import type { PublishRules } from '../publish-rules.ts';
import type { GatewayPin, Heir, Owners, PostQuantum, ServiceProtocol } from '../schema.ts';
import type { Expiry } from './duration.ts';
import type { FileAuth } from './file-auth.ts';

export interface DeploymentFile {
  readonly name: string;
  /** Absent parts keep what the current version says; at version 0 they are the writer's own key and 1. */
  readonly owners: { readonly threshold?: number; readonly keys?: Owners['keys'] };
  readonly network: FileNetwork;
  /** Host names, resolved by the writer, or multiaddrs with `/p2p/<PeerId>`. */
  readonly anchors: readonly string[];
  readonly members: readonly FileMember[];
  readonly services: readonly FileService[];
  readonly access: readonly FileGrant[];
  /** Empty where the file names none. */
  readonly egress: readonly FileEgress[];
  readonly publish: readonly FilePublish[];
}

export interface FileNetwork {
  /** Absent: the current version's, else one derived from the name and the first owners. */
  readonly ipv4?: string;
  readonly plane: 'auto' | 'wireguard' | 'rootless';
  /** Milliseconds, at least an hour; absent = never stale. */
  readonly maxStale?: number;
  readonly postQuantum?: PostQuantum;
}

export interface FileMember {
  readonly name: string;
  readonly tags: readonly string[];
  readonly keeper: boolean;
  /** Pins a machine; otherwise whoever joined keeps the place. */
  readonly node?: PeerId;
  /** Makes it a device behind that member. */
  readonly via?: string;
  /** Fixes the address; otherwise it is allocated once and kept. */
  readonly ipv4?: string;
  readonly expires?: Expiry;
}

export interface FileService {
  readonly name: string;
  /** Member names or `tag:<tag>`. */
  readonly on: readonly string[];
  readonly port: number;
  readonly target: string;
  readonly protocol: ServiceProtocol;
  readonly health?: string;
  readonly proxyProtocol?: 'v2';
}

export interface FileGrant {
  readonly from: readonly string[];
  readonly to: readonly string[];
  readonly expires?: Expiry;
}

export interface FileEgress {
  readonly from: readonly string[];
  readonly via: string;
  readonly expires?: Expiry;
}

export interface FilePublish {
  readonly name: string;
  readonly service: string;
  readonly tls: 'terminate' | 'passthrough';
  /** TCP port of the gateway. */
  readonly port?: number;
  /** Whom the name is given to. */
  readonly transfer?: Heir;
  /** Each a domain to resolve, or a pin taken as it is. */
  readonly gateways: readonly (string | GatewayPin)[];
  readonly auth?: FileAuth;
  readonly rules?: PublishRules;
}
