/** UDP ports for interfaces: WireGuard binds them itself, so they are looked at before. */
import { createSocket } from 'node:dgram';
import { MoatError } from '@moat/core';

/** The first that is tried. */
const FIRST_PORT = 51_820;
const PORTS_TRIED = 200;

/** The first free one from 51820. @param own of other interfaces @throws `WIREGUARD_PORT_TAKEN` */
export async function freePort(own: ReadonlySet<number>): Promise<number> {
  for (let port = FIRST_PORT; port < FIRST_PORT + PORTS_TRIED; port++) {
    if (!own.has(port) && (await isFree(port))) return port;
  }
  throw new MoatError('WIREGUARD_PORT_TAKEN', `no UDP port is free from ${FIRST_PORT}`, {
    next: ['moat wireguard up --port N'],
  });
}

/** @param own of other interfaces @throws `WIREGUARD_PORT_TAKEN` */
export async function checkPort(port: number, own: ReadonlySet<number>): Promise<void> {
  if (!own.has(port) && (await isFree(port))) return;
  throw new MoatError('WIREGUARD_PORT_TAKEN', `UDP port ${port} is in use`, {
    next: ['moat wireguard up   takes a free one'],
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    socket.once('error', () => resolve(false));
    socket.bind({ port, exclusive: true }, () => socket.close(() => resolve(true)));
  });
}
