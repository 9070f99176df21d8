/**
 * How the gateway asks a provider that a publisher named: never at an address of the gateway's own network, where a publisher has
 * nothing to ask; the address is looked at when it is connected to, so that a name cannot change in between. No redirect is
 * followed, an answer has {@link MAX_ANSWER_BYTES} at most and {@link ANSWER_MS} to come.
 */
import { lookup } from 'node:dns';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { refusal } from '../errors.ts';

export interface IssuerFetchOptions {
  /** Also at addresses that are not public. */
  readonly privateIssuers: boolean;
}

/** As `openid-client` asks. */
export interface IssuerRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

const MAX_ANSWER_BYTES = 256 * 1_024;
const ANSWER_MS = 5_000;

const NOT_PUBLIC = new BlockList();
for (const [net, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
] as const) {
  NOT_PUBLIC.addSubnet(net, prefix);
}
// All of IPv6 that is not global unicast (IPv4-mapped addresses are looked at as IPv4), and tunnels to IPv4.
const GLOBAL = new BlockList();
GLOBAL.addSubnet('2000::', 3, 'ipv6');
for (const [net, prefix] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
] as const) {
  NOT_PUBLIC.addSubnet(net, prefix, 'ipv6');
}

/** True for an address that everybody on the internet may ask. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !NOT_PUBLIC.check(address);
  return family === 6 && GLOBAL.check(address, 'ipv6') && !NOT_PUBLIC.check(address, 'ipv6');
}

/** One request. Rejects with Node's error, or `ISSUER_UNREACHABLE`. */
export function fetchIssuer(
  url: string,
  { method, headers, body }: IssuerRequest,
  { privateIssuers }: IssuerFetchOptions,
): Promise<Response> {
  const { protocol, hostname } = new URL(url);
  const literal = hostname.replace(/^\[|\]$/g, '');
  if (!privateIssuers && isIP(literal) !== 0 && !isPublicAddress(literal)) return Promise.reject(notPublic(literal));
  const send = protocol === 'http:' ? httpRequest : httpsRequest;
  return new Promise((resolve, reject) => {
    const sent = send(
      url,
      {
        method,
        headers,
        agent: false,
        signal: AbortSignal.timeout(ANSWER_MS),
        ...(privateIssuers ? {} : { lookup: publicLookup }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error('the answer of the provider is too large'));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode = 0 } = response;
          const isEmpty = statusCode === 204 || statusCode === 304 || statusCode < 200;
          const fields = Object.entries(response.headers).flatMap(([name, value]) =>
            [value ?? []].flat().map((one): [string, string] => [name, one]),
          );
          if (statusCode < 200 || statusCode > 599)
            return reject(new Error('the status of the answer is out of range'));
          resolve(new Response(isEmpty ? null : Buffer.concat(chunks), { status: statusCode, headers: fields }));
        });
      },
    );
    sent.on('error', reject);
    sent.end(body instanceof URLSearchParams ? body.toString() : body);
  });
}

const publicLookup: LookupFunction = (hostname, options, done) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return done(error, []);
    const open = addresses.filter(({ address }) => isPublicAddress(address));
    const [first] = open;
    if (first === undefined) return done(notPublic(hostname), []);
    if (options.all === true) done(null, open);
    else done(null, first.address, first.family);
  });
};

function notPublic(host: string): ReturnType<typeof refusal> {
  return refusal('ISSUER_UNREACHABLE', `${host} is at no public address`);
}
