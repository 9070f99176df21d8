/**
 * The proxy for programs: one port that speaks SOCKS5 and HTTP CONNECT; the first byte decides. It knows no
 * destinations but private services: it never resolves a name by DNS and never dials an address, so it is no way out
 * of the network.
 */
import { timingSafeEqual, createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { LocalPort, listenFailed } from '../local-port.ts';
import { serveHttpConnect } from './http-connect.ts';
import { HANDSHAKE_TIMEOUT_MS, type ProxyDeps, type ProxyRules } from './proxy-rules.ts';
import { SOCKS_VERSION, serveSocks } from './socks.ts';

export interface ProxyServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  stop(): Promise<void>;
}

export interface ProxyOptions {
  /** 0 = any free port. */
  readonly port: number;
  /** Asked of every program, with the user name {@link PROXY_USER}; absent = everybody on this machine may. */
  readonly password?: string;
}

/** User name of the proxy where it has a password. */
export const PROXY_USER = 'moat';

/** A method of HTTP begins with one of these. */
const LETTER_A = 0x41;
const LETTER_Z = 0x5a;

/**
 * Listens on 127.0.0.1. What is neither protocol is closed (`PROXY_PROTOCOL`). Bounds: those of a local port, and
 * {@link HANDSHAKE_TIMEOUT_MS} without a whole request.
 * @throws `LISTEN_FAILED`
 */
export async function createProxy(deps: ProxyDeps, { port, password }: ProxyOptions): Promise<ProxyServer> {
  const host = '127.0.0.1';
  const rules: ProxyRules = {
    resolve: (name, wanted) => deps.resolve(name, wanted),
    needsPassword: password !== undefined,
    isAllowed: (user, given) => password === undefined || (isSame(given, password) && user === PROXY_USER),
  };
  const local = new LocalPort((socket) => begin(rules, socket));
  try {
    await local.listen({ host, port });
  } catch (cause) {
    throw listenFailed(`the proxy cannot listen at ${host}:${port}`, cause);
  }
  const stop = (): Promise<void> => local.close();
  return { host, port: local.port, stop, [Symbol.asyncDispose]: stop };
}

function begin(rules: ProxyRules, socket: Socket): void {
  const timer = setTimeout(() => socket.destroy(), HANDSHAKE_TIMEOUT_MS);
  const onEnd = (): void => void socket.destroy();
  socket.once('close', () => clearTimeout(timer));
  socket.once('end', onEnd);
  socket.once('data', (chunk: Buffer) => {
    clearTimeout(timer);
    socket.off('end', onEnd);
    socket.pause();
    socket.unshift(chunk);
    const [first = 0] = chunk;
    if (first === SOCKS_VERSION) serveSocks(rules, socket);
    else if (first >= LETTER_A && first <= LETTER_Z) serveHttpConnect(rules, socket);
    else socket.destroy();
  });
  socket.resume();
}

function isSame(given: string, password: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(password));
}
