/** The local API on its Unix socket, which only this user may open. */
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { createAdaptorServer } from '@hono/node-server';
import { MoatError, errorCode, isMoatError } from '@moat/core';
import type { App } from '@moat/admin-api';

/** Longest path of a Unix socket on Linux (unix(7)); macOS has 104. */
const MAX_PATH_BYTES = process.platform === 'darwin' ? 103 : 107;
const CLOSE_MS = 1000;

export class ApiServer {
  readonly #app: App;
  readonly #path: string;
  #server: Server | undefined;

  constructor(app: App, path: string) {
    this.#app = app;
    this.#path = path;
  }

  /** @throws `SOCKET_FAILED`, `STATE_LOCKED` when another agent answers there. */
  async start(): Promise<void> {
    if (Buffer.byteLength(this.#path) > MAX_PATH_BYTES) {
      throw new MoatError('SOCKET_FAILED', `the socket's path is longer than ${MAX_PATH_BYTES} bytes: ${this.#path}`);
    }
    await this.#removeStale();
    const server = createAdaptorServer({ fetch: (request) => this.#app.fetch(request) }) as Server;
    this.#server = server;
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
      // Bound within this turn: nobody else may connect before chmod, and no other file is made with these rights.
      const umask = process.umask(0o177);
      let listening: Promise<void>;
      try {
        listening = listen(server, this.#path);
      } finally {
        process.umask(umask);
      }
      await listening;
      chmodSync(this.#path, 0o600);
    } catch (cause) {
      throw new MoatError('SOCKET_FAILED', `cannot open ${this.#path}`, { cause, reason: errorCode(cause) });
    }
  }

  /** Lets answers finish for a moment, then closes what is open. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS);
    server.closeIdleConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    clearTimeout(timer);
  }

  /** A socket at which nobody listens was left by a crash; whatever else is there is not ours to remove. */
  async #removeStale(): Promise<void> {
    try {
      const found = lstatSync(this.#path, { throwIfNoEntry: false });
      if (found === undefined) return;
      if (!found.isSocket()) throw new MoatError('SOCKET_FAILED', `${this.#path} exists and is no socket`);
      const refusal = await refusalAt(this.#path);
      if (refusal === undefined) throw new MoatError('STATE_LOCKED', `another agent answers at ${this.#path}`);
      // Any other refusal, e.g. of an agent that is too busy to answer, leaves it alone.
      if (refusal === 'ECONNREFUSED') unlinkSync(this.#path);
    } catch (cause) {
      if (isMoatError(cause)) throw cause;
      throw new MoatError('SOCKET_FAILED', `cannot use ${this.#path}`, { cause, reason: errorCode(cause) });
    }
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
}

/** Why nobody answers there; undefined when somebody does. */
function refusalAt(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once('error', (error) => resolve(errorCode(error)));
  });
}
