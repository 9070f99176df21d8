/** The local API on its Unix socket, which only this user may open. */
import { chmodSync, mkdirSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { createAdaptorServer } from '@hono/node-server';
import { MoatError, errorCode } from '@moat/core';
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
      // Between bind and chmod nobody else may connect either.
      const umask = process.umask(0o177);
      try {
        await new Promise<void>((resolve, reject) => {
          server.once('error', reject);
          server.listen(this.#path, resolve);
        });
      } finally {
        process.umask(umask);
      }
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

  /** A socket that nobody answers was left by a crash. */
  async #removeStale(): Promise<void> {
    const answered = await new Promise<boolean>((resolve) => {
      const probe = connect(this.#path);
      probe.once('connect', () => {
        probe.destroy();
        resolve(true);
      });
      probe.once('error', () => resolve(false));
    });
    if (answered) throw new MoatError('STATE_LOCKED', `another agent answers at ${this.#path}`);
    try {
      unlinkSync(this.#path);
    } catch (cause) {
      if (errorCode(cause) !== 'ENOENT') {
        throw new MoatError('SOCKET_FAILED', `cannot remove ${this.#path}`, { cause, reason: errorCode(cause) });
      }
    }
  }
}
