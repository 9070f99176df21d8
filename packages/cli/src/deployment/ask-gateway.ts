/** Asks a domain who it is: https `/.well-known/moat`. The answer is checked by whoever takes it over. */
import type { GatewayPin } from '@moat/contract';
import { MoatError, errorCode } from '@moat/core';
import type { Context } from '../context.ts';
import type { HttpsAnswer } from '../process/https.ts';
import { localAuthority } from '../process/try-address.ts';

/** All a gateway says of itself. */
export interface GatewayAnswer {
  readonly pin: GatewayPin;
  /** How it came by its PeerIds; unchecked. */
  readonly lists: unknown;
}

/** @param domain may have a port. @throws `GATEWAY_UNREACHABLE`, `GATEWAY_ANSWER_INVALID` */
export async function askGateway(context: Context, domain: string, signal: AbortSignal): Promise<GatewayPin> {
  return (await askGatewayWhole(context, domain, signal)).pin;
}

/** As {@link askGateway}, with the lists. */
export async function askGatewayWhole(context: Context, domain: string, signal: AbortSignal): Promise<GatewayAnswer> {
  const url = `https://${domain}/.well-known/moat`;
  // Most commands that could ask a gateway know all of them: TLS is loaded when one is asked.
  const { httpsGet } = await import('../process/https.ts');
  const caFile = await localAuthority(context, url);
  let answer: HttpsAnswer;
  try {
    answer = await httpsGet(url, {
      signal,
      ...(caFile === undefined ? {} : { caFile }),
    });
  } catch (error) {
    throw unreachable(domain, reasonOf(error), error);
  }
  if (answer.status !== 200) throw unreachable(domain, `it answers ${answer.status}`);
  try {
    const said: unknown = JSON.parse(answer.body);
    return { pin: parsePin(said), lists: (said as Record<string, unknown>)['lists'] };
  } catch (error) {
    throw new MoatError('GATEWAY_ANSWER_INVALID', `${domain} does not describe itself as a gateway`, { cause: error });
  }
}

function parsePin(value: unknown): GatewayPin {
  const { domain, peers, box } = value as Record<string, unknown>;
  if (typeof domain !== 'string' || !Array.isArray(peers)) {
    throw new MoatError('GATEWAY_ANSWER_INVALID', 'it lacks domain or peers');
  }
  return { domain, peers: peers.map(String), ...(typeof box === 'string' ? { box } : {}) };
}

/** Why an https request had no answer, in words. */
export function reasonOf(error: unknown): string {
  const code = errorCode(error);
  if (code === 'INTERNAL') return String(error);
  if (code === 'ENOTFOUND') return `the name does not resolve (${code})`;
  if (code === 'ECONNREFUSED') return `nothing listens there (${code})`;
  if (!/CERT|SIGNATURE|ISSUER/.test(code)) return code;
  return `this machine does not trust its certificate (${code}); name its authority with MOAT_CA_FILE=ca.pem`;
}

function unreachable(domain: string, reason: string, cause?: unknown): MoatError {
  return new MoatError('GATEWAY_UNREACHABLE', `${domain} does not answer as a gateway: ${reason}`, {
    cause,
    next: [`curl https://${domain}/.well-known/moat`, 'check the domain, or ask its operator'],
    retryable: true,
  });
}
