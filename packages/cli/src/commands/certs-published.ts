/** `moat certs show` on a member's machine: what gateways say of the certificate of a name that it publishes there. */
import type { AgentClient, PublicationCertificate } from '@moat/admin-api';
import { isMoatError } from '@moat/core';
import { certificateLine } from '../output/publication.ts';
import type { Style } from '../output/style.ts';
import { renderTable } from '../output/table.ts';

/** One name at one gateway. */
export interface PublishedCertificateAt {
  readonly host: string;
  readonly gateway: string;
  readonly certificate: PublicationCertificate;
}

/** Empty where this machine has no agent, publishes nothing of that name, or is told nothing about it. */
export async function publishedCertificates(
  agent: AgentClient,
  name: string,
): Promise<readonly PublishedCertificateAt[]> {
  try {
    const publications = await agent.publications();
    return publications.flatMap(({ name: line, host, gateway, certificate }) =>
      certificate !== undefined && host !== null && (host === name || line === name)
        ? [{ host, gateway, certificate }]
        : [],
    );
  } catch (error) {
    if (isMoatError(error, 'AGENT_NOT_RUNNING')) return [];
    throw error;
  }
}

export function renderPublished(published: readonly PublishedCertificateAt[], style: Style): string {
  return published
    .map(({ host, gateway, certificate }) => {
      const { state, issuer, notAfter, next, problem } = certificate;
      const isWell = state === 'valid' && problem === null;
      const rows = [
        ['State', `${state}, held by the gateway ${gateway}, which ends the public's TLS`],
        ['Issuer', issuer ?? ''],
        ['Ends', notAfter ?? ''],
        [state === 'valid' ? 'Renewal' : 'Next try', next ?? ''],
        ['Failed', problem === null ? '' : certificateLine(certificate, style)],
      ].filter(([, value]) => value !== '');
      const table = renderTable(
        rows.map(([key = '', value = '']) => [style.dim(key), value]),
        { indent: 2 },
      );
      return `${isWell ? style.ok : style.attention} ${style.bold(host)}\n${table}`;
    })
    .join('\n');
}
