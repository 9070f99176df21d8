/**
 * Whose a host outside the gateway's domain is, as the DNS says it: a TXT record that names the deployment. The id is the
 * hash of the deployment's first owners, and what its owners sign names the gateways, so the record need not. One
 * record lets a deployment publish at any of them. Pure.
 */
import { isDeploymentId, type DeploymentId } from '@moat/core';

const LABEL = '_moat';
const PREFIX = 'moat-deployment=';
/** So that the record's name is one too (RFC 1035 §2.3.4). */
export const MAX_HOST_LENGTH: number = 253 - LABEL.length - 1;

/** The record that proves `host` for `deployment`. */
export function proofRecord(host: string, deployment: DeploymentId): { readonly name: string; readonly value: string } {
  return { name: `${LABEL}.${host}`, value: PREFIX + deployment };
}

/** Deployments that the texts found at the record's name speak for; undefined where none is meant as a proof. */
export function provenBy(texts: readonly string[]): ReadonlySet<DeploymentId> | undefined {
  const meant = texts.map((text) => text.trim()).filter((text) => text.toLowerCase().startsWith(PREFIX));
  if (meant.length === 0) return undefined;
  return new Set(meant.map((text) => text.slice(PREFIX.length).toLowerCase()).filter(isDeploymentId));
}
