/**
 * `/moat/observe/1`: where a peer's UDP packets come from, as an anchor sees it. The peer sends a WireGuard public key that
 * nobody else knows; the anchor answers its UDP port, waits for a handshake for that key and answers its source. So the
 * socket of a WireGuard that knows nothing of Moat is observed, and nothing is ever sent over UDP.
 */
import { isIP } from 'node:net';
import { lookup } from 'node:dns/promises';
import { MoatError, type Clock, type Endpoint, type MessageStream, type Observation } from '@moat/core';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline, raced } from './deadline.ts';
import { decodeJson, encodeJson } from './messages.ts';
import type { Probation } from './probation.ts';

export const OBSERVE_PROTOCOL = '/moat/observe/1';
/** Milliseconds until a request is read, and until its first answer is. */
export const REQUEST_MS = 5000;
/** Milliseconds that an anchor waits for a handshake. */
export const WAIT_MS = 5000;

const port = z.int().min(1).max(65_535);
/** The 43rd character has but four bits: each key has one spelling. */
const key = z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/);
const requestSchema = z.strictObject({ key });
/** Why an anchor observes nothing. */
export type ObserveRefusal = 'OBSERVE_UNAVAILABLE' | 'OBSERVE_BUSY' | 'OBSERVE_SILENT';
const WORDS: Readonly<Record<ObserveRefusal, string>> = {
  OBSERVE_UNAVAILABLE: 'this anchor sees no UDP packets of ours',
  OBSERVE_BUSY: 'the anchor waits for as many handshakes as it may',
  OBSERVE_SILENT: 'no handshake of ours arrived at the anchor',
};

const refusalSchema = z.strictObject({ ok: z.literal(false), code: z.enum(Object.keys(WORDS) as ObserveRefusal[]) });
const listeningSchema = z.discriminatedUnion('ok', [z.strictObject({ ok: z.literal(true), port }), refusalSchema]);
const observedSchema = z.discriminatedUnion('ok', [
  z.strictObject({
    ok: z.literal(true),
    host: z.string().refine((host) => isIP(host) !== 0 && !host.includes('%')),
    port,
  }),
  refusalSchema,
]);

/** @throws `MESSAGE_INVALID` */
export function decodeObserveRequest(bytes: Uint8Array): { readonly key: string } {
  return decodeJson(bytes, requestSchema);
}

export function encodeObserveAnswer(answer: { readonly port: number } | Endpoint | ObserveRefusal): Uint8Array {
  return encodeJson(typeof answer === 'string' ? { ok: false, code: answer } : { ok: true, ...answer });
}

export interface ObserveDeps {
  readonly clock: Clock;
  readonly control: Control;
  readonly probation: Probation;
}

/**
 * Asks the anchor at the other end.
 * @throws `OBSERVE_UNAVAILABLE`, `OBSERVE_BUSY`, `PROTOCOL_UNSUPPORTED`, and what a stream throws
 */
export async function observe(
  { clock, control, probation }: ObserveDeps,
  connection: OverlayConnection,
  publicKey: string,
  signal: AbortSignal,
): Promise<Observation> {
  if (connection.remote === null) throw refused('OBSERVE_UNAVAILABLE');
  using deadline = new Deadline(clock, REQUEST_MS, signal);
  const host = await addressOf(connection.remote.host, deadline.signal);
  const release = probation.hold(connection);
  let stream: MessageStream | undefined;
  try {
    stream = await control.open(connection, OBSERVE_PROTOCOL, deadline.signal);
    await stream.write(encodeJson({ key: publicKey }), deadline.signal);
    const answer = decodeJson(await stream.read(deadline.signal), listeningSchema);
    if (!answer.ok) throw refused(answer.code);
    const observed = readObserved(clock, stream, signal).finally(release);
    observed.catch(() => undefined);
    return { listening: { host, port: answer.port }, observed };
  } catch (error) {
    stream?.abort(error as Error);
    release();
    throw error;
  }
}

async function readObserved(clock: Clock, stream: MessageStream, signal: AbortSignal): Promise<Endpoint> {
  using deadline = new Deadline(clock, WAIT_MS + REQUEST_MS, signal);
  try {
    const answer = decodeJson(await stream.read(deadline.signal), observedSchema);
    if (!answer.ok) throw refused(answer.code);
    await stream.close();
    return { host: answer.host, port: answer.port };
  } catch (error) {
    stream.abort(error as Error);
    throw error;
  }
}

/** WireGuard takes addresses only as such. */
async function addressOf(host: string, signal: AbortSignal): Promise<string> {
  return isIP(host) !== 0 ? host : (await raced(lookup(host), signal)).address;
}

function refused(code: ObserveRefusal): MoatError<ObserveRefusal> {
  return new MoatError(code, WORDS[code], { retryable: code !== 'OBSERVE_UNAVAILABLE' });
}
