/** `moat sign-in HOST`: comes in under a public name with nothing but a key of Moat. */
import { SIGN_IN_LASTS_MS, createSignIn, formatTime } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { reasonOf } from '../deployment/ask-gateway.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { httpsGet, type HttpsAnswer } from '../process/https.ts';
import { localAuthority } from '../process/try-address.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface SignInOptions extends OwnerOptions {
  readonly machine?: boolean;
  readonly cookie?: boolean;
}

interface Ask {
  readonly method: string;
  readonly body?: string;
}

const TIMEOUT_MS = 15_000;
const PATH = '/.well-known/moat/sign-in';

export function addSignIn(program: Command, runner: VerbRunner): void {
  addVerb<SignInOptions>(
    program,
    runner,
    {
      usage: 'sign-in <host>',
      summary: 'comes in under a public name with your key: an address to open in a browser, or a cookie',
      group: 'Publish',
      orDev: true,
      examples: [
        ['moat sign-in shop.apps.example.com', 'an address that signs one browser in, within a minute'],
        ['moat sign-in shop.apps.example.com --cookie', 'for curl --cookie'],
        ['moat sign-in shop.apps.example.com --machine --cookie', 'with the key of this machine’s agent'],
      ],
      options: [
        { flags: '--machine', text: 'sign with the key of this machine instead of an owner’s' },
        { flags: '--cookie', text: 'print the cookie of the session instead' },
        ...OWNER_OPTIONS,
      ],
    },
    signIn,
  );
}

async function signIn(context: Context, [typed = '']: readonly string[], options: SignInOptions): Promise<Outcome> {
  const { host, hostname } = parseHost(typed);
  const asked = read(await send(context, host, { method: 'GET' }), host);
  // TLS has shown whose host it is; a question for another one would be somebody else's.
  if (asked['host'] !== hostname || typeof asked['nonce'] !== 'string') throw notOffered(host);
  const question = { host: hostname, nonce: asked['nonce'], ...untilOf(asked['lastsMs']) };
  const signed =
    options.machine === true ? (await context.agent.signIn(question)).signed : await sign(context, options, question);
  const done = read(await send(context, host, { method: 'POST', body: JSON.stringify(signed) }), host);
  const { user, cookie, url } = done;
  if (typeof user !== 'string' || typeof cookie !== 'string' || typeof url !== 'string') throw notOffered(host);
  // Whoever opens it is signed in where it leads to.
  if (!url.startsWith(`https://${host}${PATH}?`)) throw notOffered(host);
  const { style } = context;
  const text = [
    `${style.ok} ${host} knows you as ${user}`,
    `  ${style.bold(url)}`,
    style.dim('  signs in the one browser that opens it, within a minute'),
  ].join('\n');
  return { kind: 'signed-in', data: { host, user, url, cookie }, text: options.cookie === true ? cookie : text };
}

async function sign(
  context: Context,
  options: OwnerOptions,
  question: { readonly host: string; readonly nonce: string; readonly until?: string },
): Promise<object> {
  const { signer } = await openOwner(context, options);
  return createSignIn(question, signer);
}

/** Where members ask too they are shown the signature itself: it says how long it is to be worth something. */
function untilOf(lastsMs: unknown): { readonly until?: string } {
  if (typeof lastsMs !== 'number' || !(lastsMs > 0)) return {};
  const untilMs = Date.now() + Math.min(lastsMs, SIGN_IN_LASTS_MS);
  return { until: formatTime(untilMs) };
}

function parseHost(typed: string): { readonly host: string; readonly hostname: string } {
  const text = `https://${typed}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.href !== `https://${url.host}/` || url.host === '') {
    throw new MoatError('USAGE', `"${typed}" is no host`, { next: ['moat sign-in shop.apps.example.com'] });
  }
  return url;
}

async function send(context: Context, host: string, { method, body }: Ask): Promise<HttpsAnswer> {
  const url = `https://${host}${PATH}`;
  const caFile = await localAuthority(context, url);
  const request = httpsGet(url, {
    signal: AbortSignal.any([context.io.signal, AbortSignal.timeout(TIMEOUT_MS)]),
    method,
    headers: {
      accept: 'application/json',
      ...(body === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }),
    },
    ...(body === undefined ? {} : { body }),
    ...(caFile === undefined ? {} : { caFile }),
  });
  try {
    return await context.progress.during(`signing in at ${host}`, request);
  } catch (cause) {
    throw new MoatError('GATEWAY_UNREACHABLE', `${host} does not answer: ${reasonOf(cause)}`, {
      cause,
      retryable: true,
    });
  }
}

/** @throws `SIGN_IN_NOT_OFFERED`, and what the gateway refused with */
function read({ status, body }: HttpsAnswer, host: string): Readonly<Record<string, unknown>> {
  let said: unknown;
  try {
    said = JSON.parse(body);
  } catch {
    throw notOffered(host);
  }
  if (typeof said !== 'object' || said === null) throw notOffered(host);
  const { error } = said as { readonly error?: unknown };
  if (status === 200) return said as Readonly<Record<string, unknown>>;
  const { code, message } = (typeof error === 'object' && error !== null ? error : {}) as Record<string, unknown>;
  // Only words of the one who answers there; `code` may be anybody's.
  if (typeof code !== 'string' || !/^SIGN_IN_[A-Z]+$|^RATE_LIMITED$|^GATEWAY_BUSY$/.test(code)) throw notOffered(host);
  throw new MoatError(code, String(message).slice(0, 200));
}

function notOffered(host: string): MoatError {
  return new MoatError('SIGN_IN_NOT_OFFERED', `${host} asks for no key of Moat`);
}
