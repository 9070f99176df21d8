/** Public names that are whole hosts of one's own, and the record that proves them. */
import { domainToASCII } from 'node:url';
import { MAX_HOST_LENGTH, isHostName, proofRecord } from '@moat/contract';
import { MoatError } from '@moat/core';

export interface HostRecord {
  readonly name: string;
  readonly value: string;
}

/** The TXT record that a name needs at a gateway; undefined for one below the gateway's domain. */
export function proofRecordOf(publication: {
  readonly deployment: string;
  readonly name: string;
  readonly gateway: string;
}): HostRecord | undefined {
  const { deployment, name, gateway } = publication;
  if (!name.includes('.') || name.endsWith(`.${gateway}`)) return undefined;
  return proofRecord(name, deployment);
}

/** What to create, in words. */
export function recordText({ name, value }: HostRecord, host: string, gateway: string): string[] {
  return [
    `create the record  ${name}. TXT "${value}"`,
    `lead visitors there  ${host}. CNAME ${gateway}.   (A and AAAA of ${gateway} where ${host} is the top of its zone)`,
  ];
}

/** What `--name` or `--host` asks for. @throws `USAGE` */
export function askedName({ name, host }: { readonly name?: string; readonly host?: string }): string | undefined {
  if (host === undefined) return name;
  if (name === undefined) return ownHost(host);
  throw new MoatError('USAGE', '--name and --host are two names; publish twice, once with each');
}

/** `--host` as it stands in a contract. @throws `USAGE` */
function ownHost(text: string): string {
  const host = text.toLowerCase().replace(/\.$/, '');
  const isWhole = host.includes('.') && host.length <= MAX_HOST_LENGTH;
  if (isWhole && isHostName(host) && !host.includes('_')) return host;
  const ascii = /[^ -~]/.test(host) ? domainToASCII(host) : '';
  throw new MoatError('USAGE', `--host ${text.slice(0, 80)} is not a host name`, {
    reason: host.includes('*')
      ? 'each host is published and proved by itself; there is no wildcard'
      : 'a host of your own is written whole, in ASCII: www.shop.example',
    next: ascii === '' ? ['--name NAME   a name below the gateway’s domain'] : [`--host ${ascii}`],
  });
}
