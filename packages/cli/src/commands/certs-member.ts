/**
 * `moat certs show` on a member's machine: the certificate of a name that a gateway passes through to it, the CAA record
 * that keeps everybody else from getting one, and whether the public is shown what this machine holds.
 */
import { connect } from 'node:tls';
import type { AgentClient, MemberCertificate } from '@moat/admin-api';
import { isMoatError } from '@moat/core';
import type { Style } from '../output/style.ts';
import { renderTable } from '../output/table.ts';

/** What strangers are shown. */
export interface PublicLook {
  /** `other`: a certificate that is not this machine's; `none`: no handshake came about. */
  readonly result: 'same' | 'other' | 'none';
  readonly fingerprint: string | null;
  readonly issuer: string | null;
  /** Where the look was taken. */
  readonly at: string;
  readonly reason: string | null;
}

/** Milliseconds for one handshake. */
const LOOK_MS = 5_000;
/** Each may meet another member of the name. */
const LOOKS = 8;

/** Undefined where this machine has no agent, or the agent does not know the name as passed through to it. */
export async function memberCertificate(agent: AgentClient, name: string): Promise<MemberCertificate | undefined> {
  try {
    const certificates = await agent.certificates();
    return (
      certificates.find(({ host }) => host === name) ?? certificates.find(({ host }) => host.startsWith(`${name}.`))
    );
  } catch (error) {
    if (isMoatError(error, 'AGENT_NOT_RUNNING')) return undefined;
    throw error;
  }
}

/** Real handshakes to the name, until one shows what this machine holds. @param at `HOST:PORT`; by default the name's own */
export async function lookAt(
  { host, fingerprint }: MemberCertificate,
  at: string = `${host}:443`,
): Promise<PublicLook> {
  const [, address = host, port = '443'] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(at) ?? [];
  let last: PublicLook = { result: 'none', fingerprint: null, issuer: null, at, reason: null };
  for (let i = 0; i < LOOKS; i++) {
    last = { ...(await handshake(host, address, Number(port))), at };
    if (last.result === 'none') return last;
    if (last.fingerprint === fingerprint) return { ...last, result: 'same' };
  }
  return last;
}

function handshake(servername: string, host: string, port: number): Promise<PublicLook> {
  return new Promise((resolve) => {
    const done = (look: Partial<PublicLook>): void => {
      socket.destroy();
      resolve({ result: 'none', fingerprint: null, issuer: null, at: '', reason: null, ...look });
    };
    // What is shown is what is asked about, whoever vouches for it.
    const socket = connect({ host, port, servername, rejectUnauthorized: false, timeout: LOOK_MS }, () => {
      const { fingerprint256, issuer } = socket.getPeerCertificate();
      const fingerprint = fingerprint256.replaceAll(':', '').toLowerCase();
      done({ result: 'other', fingerprint, issuer: String(issuer.O ?? issuer.CN) });
    });
    socket.once('timeout', () => done({ reason: `no answer within ${LOOK_MS} ms` }));
    socket.once('error', (error) => done({ reason: error.message }));
  });
}

export function renderMember(certificate: MemberCertificate, look: PublicLook, style: Style): string {
  const { host, state, source, issuer, fingerprint, notAfter, next, failure, caa } = certificate;
  const isWell = state === 'valid' && look.result === 'same';
  const rows = [
    ['State', `${state}, held by this machine alone; the gateway passes ${host} through unread`],
    [
      'From',
      source === 'files' ? 'a file of this machine' : source === 'acme' ? (issuer ?? 'being ordered') : 'nowhere yet',
    ],
    ['SHA-256', fingerprint ?? ''],
    ['Ends', notAfter ?? ''],
    [notAfter === null ? 'Next try' : 'Renewal', next ?? ''],
    ['Failed', failure === null ? '' : `${failure.message} (${failure.code}, ${failure.at})`],
    ['Public', publicLine(look, fingerprint)],
    ['CAA', caa.length === 0 ? 'known once the authority was asked' : ''],
    ...caa.map((record) => ['', record]),
  ].filter(([, value]) => value !== '');
  const table = renderTable(
    rows.map(([key = '', value = '']) => [style.dim(key), value]),
    { indent: 2 },
  );
  return `${isWell ? style.ok : style.attention} ${style.bold(host)}\n${table}`;
}

function publicLine({ result, fingerprint, issuer, at, reason }: PublicLook, own: string | null): string {
  if (result === 'same') return `${at} shows this certificate`;
  if (result === 'none') return `${at} showed none: ${reason ?? 'the handshake failed'}`;
  const whose = own === null ? 'a certificate' : "another member's certificate, or a stranger's";
  return `${at} shows ${whose}: ${fingerprint ?? ''} of ${issuer ?? ''}; compare it on the other members`;
}
