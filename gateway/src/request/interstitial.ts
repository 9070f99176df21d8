/**
 * A page in front of names whose publisher the operator does not know: people read once whose service it is not. Only
 * navigations of browsers get it, which say so by `Sec-Fetch-Mode`; programs, scripts and pictures pass. Going on is a form
 * that only the page itself can send, and sets a cookie that is good for this host alone.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { toBase64url, type Clock } from '@moat/core';
import { cookiesOf, fieldOf, isOwnForm } from '../sign-in/own-fields.ts';
import { abuseLine, type AbuseContact } from './abuse.ts';
import type { ClientRequest } from './client-request.ts';
import { escapeHtml, htmlPage } from './page.ts';
import { ownAnswer, type OwnAnswer } from './respond.ts';

export interface InterstitialDeps {
  readonly clock: Clock;
  /** The gateway's own, the same in each of its processes. */
  readonly secret: Uint8Array;
}

const CONTINUE_PATH = '/.well-known/moat/continue';
const COOKIE = '__Host-moat-seen';
const SEEN_MS = 30 * 24 * 3_600_000;

export class Interstitial {
  readonly #deps: InterstitialDeps;

  constructor(deps: InterstitialDeps) {
    this.#deps = deps;
  }

  /** The answer to a request that must not go on yet; undefined for all others. */
  answer(request: ClientRequest, domain: string, abuse: AbuseContact | undefined): OwnAnswer | undefined {
    const { head } = request;
    const [path, query = ''] = head.target.split('?', 2);
    if (path === CONTINUE_PATH) return this.#goOn(request, query);
    if (!isNavigation(request) || this.#hasSeen(request)) return undefined;
    const to = encodeURIComponent(head.method === 'GET' ? head.target : '/');
    const body = `<p><code>${escapeHtml(head.host)}</code> is the service of somebody who published it through
<code>${escapeHtml(domain)}</code>. The operator of this gateway does not know them and does not vouch for what follows. Give no password here
that you use elsewhere.</p>
<form method="post" action="${CONTINUE_PATH}?to=${escapeHtml(to)}"><button>Go on to ${escapeHtml(head.host)}</button></form>
${abuseLine(abuse)}`;
    return ownAnswer(200, 'INTERSTITIAL', 'text/html; charset=utf-8', htmlPage('Before you go on', body), [
      ['x-robots-tag', 'noindex'],
    ]);
  }

  /** Only a form of our page comes from this host: whoever leads people here from elsewhere is not spared the page. */
  #goOn(request: ClientRequest, query: string): OwnAnswer {
    const { head } = request;
    const to = new URLSearchParams(query).get('to') ?? '/';
    const target = /^\/(?![/\\])[!-~]*$/.test(to) && !to.startsWith(CONTINUE_PATH) ? to : '/';
    if (!isOwnForm(request)) return ownAnswer(303, 'INTERSTITIAL', 'text/plain', '', [['location', target]]);
    const until = (this.#deps.clock.now() + SEEN_MS).toString(36);
    const cookie = `${COOKIE}=${until}.${this.#seal(head.host, until)}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${SEEN_MS / 1_000}`;
    return ownAnswer(303, 'INTERSTITIAL', 'text/plain', '', [
      ['location', target],
      ['set-cookie', cookie],
    ]);
  }

  #hasSeen(request: ClientRequest): boolean {
    for (const pair of cookiesOf(request)?.split(';') ?? []) {
      const [name, value = ''] = pair.trim().split('=', 2);
      const [until = '', seal = ''] = value.split('.', 2);
      if (name !== COOKIE || !(Number.parseInt(until, 36) > this.#deps.clock.now())) continue;
      const [expected, given] = [Buffer.from(this.#seal(request.head.host, until)), Buffer.from(seal)];
      if (expected.length === given.length && timingSafeEqual(expected, given)) return true;
    }
    return false;
  }

  #seal(host: string, until: string): string {
    return toBase64url(
      createHmac('sha256', this.#deps.secret).update(`moat/interstitial/1\0${host}\0${until}`).digest(),
    );
  }
}

/** A browser's address line or a link; where it does not say so, whoever asks for HTML first. */
function isNavigation(request: ClientRequest): boolean {
  const { method, upgrade } = request.head;
  if (upgrade !== undefined) return false;
  const mode = fieldOf(request, 'sec-fetch-mode');
  if (mode !== undefined) return mode === 'navigate';
  return (method === 'GET' || method === 'HEAD') && (fieldOf(request, 'accept') ?? '').startsWith('text/html');
}
