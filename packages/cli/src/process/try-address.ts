/** One real request to a public address, so that what is printed has been seen to work. */
import { errorCode } from '@moat/core';
import type { Context } from '../context.ts';
import { formatDuration } from '../output/units.ts';

const TIMEOUT_MS = 10_000;

export interface Tried {
  readonly status: number | null;
  /** `200 in 14 ms`, or why there was no answer. */
  readonly text: string;
}

/** Never throws: an address that does not answer yet is a finding. */
export async function tryAddress(context: Context, url: string): Promise<Tried> {
  const { io, progress } = context;
  const began = io.now();
  const caFile = await localAuthority(context, url);
  const { httpsGet } = await import('./https.ts');
  const signal = AbortSignal.any([io.signal, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const request = httpsGet(url, { signal, ...(caFile === undefined ? {} : { caFile }) });
    const { status } = await progress.during(`trying ${url}`, request);
    return { status, text: `answers ${status} in ${formatDuration(io.now() - began)}` };
  } catch (error) {
    return {
      status: null,
      text: `no answer yet: ${errorCode(error) === 'INTERNAL' ? String(error) : errorCode(error)}`,
    };
  }
}

/** The PEM file to trust besides the usual authorities: `*.localhost` has a certificate of the gateway on this machine. */
export async function localAuthority({ gateway, io }: Context, url: string): Promise<string | undefined> {
  if (io.env['MOAT_CA_FILE'] !== undefined || !/^https:\/\/([^/:]+\.)?localhost(:|\/|$)/.test(url))
    return io.env['MOAT_CA_FILE'];
  try {
    return (await gateway.status({ timeoutMs: 1000 })).caFile ?? undefined;
  } catch {
    return undefined;
  }
}
