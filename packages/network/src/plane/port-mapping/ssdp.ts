/**
 * Where a router describes itself: the search of UPnP (UPnP Device Architecture 1.1, §1.3). Anybody in the LAN can answer,
 * so an answer counts only where it comes from the router's address and points to the router's address.
 */
import { createSocket } from 'node:dgram';
import type { Clock, Timer } from '@moat/core';
import { createDeadline } from '../deadline.ts';
import type { Router } from './port-giver.ts';

export const SSDP_GROUP = '239.255.255.250';
export const SSDP_PORT = 1900;
/** Version 2 has to answer for version 1, and does not always. */
const TARGETS = [1, 2].map((version) => `urn:schemas-upnp-org:device:InternetGatewayDevice:${version}`);
/** Seconds over which those who answer spread their answers. */
const SPREAD_SECONDS = 1;
/** Milliseconds until the search is repeated once, and until it ends. */
const [REPEAT_MS, SEARCH_MS] = [1_000, 3_000];
/** Answers of the router looked at, and different places looked into; further ones are not heard. */
const [MOST_ANSWERS, MOST_PLACES] = [64, 4];
const MOST_BYTES = 2_048;

/** Places of the router's own, as they are heard of; ends after three seconds. @throws the signal's reason */
export async function* searchRouter(clock: Clock, router: Router, signal: AbortSignal): AsyncGenerator<URL> {
  if (router.searchAt.length === 0) return;
  using deadline = createDeadline(clock, SEARCH_MS, signal);
  const found = new Map<string, URL>();
  const waiting: URL[] = [];
  let news = Promise.withResolvers<void>();
  let answers = 0;
  let isOver = false;
  let repetition: Timer | undefined;
  const tell = (): void => {
    news.resolve();
    news = Promise.withResolvers();
  };
  const end = (): void => {
    isOver = true;
    tell();
  };
  const socket = createSocket('udp4');
  // Answers to a group come from an address that nothing was sent to, which a firewall of this machine may drop: the
  // router is asked by its own address too.
  const search = (): void => {
    for (const { host, port } of router.searchAt) {
      for (const target of TARGETS) socket.send(searchFor(target), port, host, () => undefined);
    }
  };
  socket.on('error', end);
  socket.on('message', (packet, { address }) => {
    // Others are not heard, and cannot end the search either.
    if (address !== router.host) return;
    answers += 1;
    if (answers > MOST_ANSWERS) return end();
    const place = placeOf(packet, router.host);
    if (place === null || found.has(place.href) || found.size === MOST_PLACES) return;
    found.set(place.href, place);
    waiting.push(place);
    tell();
  });
  socket.bind(0, router.own, () => {
    try {
      socket.setMulticastInterface(router.own);
      search();
      repetition = clock.after(REPEAT_MS, search);
    } catch {
      end();
    }
  });
  deadline.signal.addEventListener('abort', end, { once: true });
  try {
    while (!signal.aborted) {
      const place = waiting.shift();
      if (place !== undefined) yield place;
      else if (isOver || deadline.signal.aborted) break;
      else await news.promise;
    }
    signal.throwIfAborted();
  } finally {
    repetition?.cancel();
    deadline.signal.removeEventListener('abort', end);
    socket.removeAllListeners('message').close();
  }
}

function searchFor(target: string): string {
  return [
    'M-SEARCH * HTTP/1.1',
    `HOST: ${SSDP_GROUP}:${SSDP_PORT}`,
    'MAN: "ssdp:discover"',
    `MX: ${SPREAD_SECONDS}`,
    `ST: ${target}`,
    '',
    '',
  ].join('\r\n');
}

/** Null where an answer is none, or points elsewhere than to `host`. */
export function placeOf(packet: Uint8Array, host: string): URL | null {
  if (packet.length > MOST_BYTES) return null;
  const text = Buffer.from(packet).toString('latin1');
  if (!/^HTTP\/1\.[01] 200[ \r\n]/.test(text)) return null;
  return routerUrl(/^location:[ \t]*([\x21-\x7e]+)[ \t]*\r?$/im.exec(text)?.[1] ?? '', host);
}

/** The address if it is one of `host` by http, else null. */
export function routerUrl(text: string, host: string, base?: URL): URL | null {
  const url = URL.parse(text, base?.href);
  const isRouter = url?.protocol === 'http:' && url.hostname === host && url.username === '' && url.password === '';
  return isRouter && url.href.length <= 512 ? url : null;
}
