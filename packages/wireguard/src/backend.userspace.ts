/** wireguard-go: a process of its own for each interface, which goes on when the one that started it ends. */
import { existsSync, mkdirSync, watch } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { moveLink, removeLink } from './backend.kernel.ts';
import type { Backend } from './backend.ts';
import { failure } from './errors.ts';
import type { Tools } from './tool.ts';
import { showDump } from './wg.ts';

export interface UserspaceOptions {
  /** Where wireguard-go has its sockets. @defaultValue `/var/run/wireguard`, which is built into `wg` */
  readonly sockets?: string;
}

const SOCKETS = '/var/run/wireguard';
/** For a process to show its socket, or to take it away. */
const DEADLINE_MS = 5000;

/** An interface is a TUN device that wireguard-go holds; its socket is reached from every namespace. */
export function createUserspaceBackend(tools: Tools, options: UserspaceOptions = {}): Backend {
  const sockets = options.sockets ?? SOCKETS;
  const socketOf = (name: string): string => join(sockets, `${name}.sock`);

  /** Without this a dying process would take the socket of the next with it. */
  const gone = async (name: string): Promise<void> => {
    const socket = socketOf(name);
    if (!existsSync(socket)) return;
    // Nobody listens: left by a process that was killed.
    if (!(await answers(socket)) || !(await until(sockets, () => !existsSync(socket))))
      await rm(socket, { force: true });
  };

  return {
    kind: 'userspace',
    wgNamespace: () => null,
    async create(name, place) {
      await removeLink(tools, name, null);
      await gone(name);
      // It goes to the background by itself; without LOG_LEVEL it says nothing there.
      await tools.run({ tool: 'wireguard-go', args: [name] });
      if (!(await until(sockets, () => existsSync(socketOf(name))))) {
        throw failure('TUNNEL_FAILED', `wireguard-go made no socket for ${name} within ${DEADLINE_MS / 1000} s`, {
          retryable: true,
        });
      }
      // Who has its answer knows that it has found its interface, which it looks for in our namespace.
      await tools.run(showDump(name));
      // Moved while it is down: what it sees of our namespace would tell it later that it went down.
      await moveLink(tools, name, place);
    },
    async destroy(name, places) {
      for (const { path } of places) await removeLink(tools, name, path);
      await gone(name);
    },
  };
}

/** Waits for a change in `directory` that makes `done` true; false when the time is over. */
async function until(directory: string, done: () => boolean): Promise<boolean> {
  if (done()) return true;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return new Promise((resolve) => {
    const watcher = watch(directory);
    const end = (result: boolean): void => {
      clearTimeout(timer);
      watcher.close();
      resolve(result);
    };
    const timer = setTimeout(() => end(done()), DEADLINE_MS);
    const look = (): void => {
      if (done()) end(true);
    };
    watcher.on('change', look);
    watcher.on('error', () => end(done()));
    // It may have happened before the watch began.
    look();
  });
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}
