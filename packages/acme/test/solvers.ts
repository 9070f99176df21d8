/** Solvers of tests: a web server, a TLS server, and records at challtestsrv. */
import { createServer as createHttpServer } from 'node:http';
import { createSecureContext, createServer as createTlsServer } from 'node:tls';
import type { AddressInfo, Server } from 'node:net';
import {
  ACME_TLS_PROTOCOL,
  challengeRecord,
  createChallengeCertificate,
  tokenOfPath,
  type Challenge,
  type ChallengeCertificate,
  type ChallengeSolver,
} from '@moat/acme';
import type { Pebble } from './pebble.ts';

/** A solver that listens. */
export interface ServingSolver extends ChallengeSolver, AsyncDisposable {
  readonly port: number;
  /** Challenges it was given, in order. */
  readonly seen: Challenge[];
  /** False = it shows nothing, as a name that leads elsewhere. */
  honest: boolean;
}

export async function httpSolver(): Promise<ServingSolver> {
  const shown = new Map<string, string>();
  const server = createHttpServer((request, response) => {
    const answer = shown.get(tokenOfPath(request.url ?? '') ?? '');
    response.writeHead(answer === undefined ? 404 : 200).end(answer);
  });
  return serving(server, {
    kind: 'http-01',
    show: (challenge) => void shown.set(challenge.token, challenge.keyAuthorization),
    hide: (challenge) => void shown.delete(challenge.token),
  });
}

export async function tlsSolver(): Promise<ServingSolver> {
  const shown = new Map<string, ChallengeCertificate>();
  const server = createTlsServer({
    ALPNProtocols: [ACME_TLS_PROTOCOL],
    SNICallback: (name, done) => {
      const pair = shown.get(name);
      done(null, pair && createSecureContext({ cert: pair.certificate, key: pair.key }));
    },
  });
  server.on('tlsClientError', () => undefined);
  return serving(server, {
    kind: 'tls-alpn-01',
    show: async (challenge) => void shown.set(challenge.name, await createChallengeCertificate(challenge, Date.now())),
    hide: (challenge) => void shown.delete(challenge.name),
  });
}

/** Proves anything, also wildcards, by records. */
export function dnsSolver(pebble: () => Pebble): ChallengeSolver & { readonly seen: Challenge[] } {
  const seen: Challenge[] = [];
  return {
    kind: 'dns-01',
    seen,
    solves: () => true,
    present: async (challenge) => {
      seen.push(challenge);
      const { name, value } = challengeRecord(challenge);
      await pebble().dns('set-txt', { host: `${name}.`, value });
    },
    remove: (challenge) => pebble().dns('clear-txt', { host: `${challengeRecord(challenge).name}.` }),
  };
}

async function serving(
  server: Server,
  { kind, show, hide }: Pick<ChallengeSolver, 'kind'> & Record<'show' | 'hide', (challenge: Challenge) => unknown>,
): Promise<ServingSolver> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const seen: Challenge[] = [];
  const solver: ServingSolver = {
    kind,
    port: (server.address() as AddressInfo).port,
    seen,
    honest: true,
    solves: (_name, wildcard) => !wildcard,
    async present(challenge) {
      seen.push(challenge);
      if (solver.honest) await show(challenge);
    },
    async remove(challenge) {
      await hide(challenge);
    },
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => void server.close(() => resolve())),
  };
  return solver;
}
