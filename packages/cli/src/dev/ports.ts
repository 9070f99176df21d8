/** The ports of `moat dev`: the same each time, unless somebody took one. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { MoatError } from '@moat/core';

const PORT_NAMES = [
  'https',
  'http',
  'gatewayOverlay',
  'gatewayLink',
  'webOverlay',
  'webLink',
  'dbOverlay',
  'dbLink',
  'webService',
  'dbService',
] as const;

/** The system may offer a port that we have chosen and closed already. */
const ANY: readonly number[] = Array.from({ length: 20 }, () => 0);

export type PortName = (typeof PORT_NAMES)[number];
export type Ports = Readonly<Record<PortName, number>>;

export interface ChosenPorts {
  readonly ports: Ports;
  /** Wanted, but in use by another program. */
  readonly taken: readonly { readonly name: PortName; readonly wanted: number; readonly instead: number }[];
}

/**
 * Ports that are free now on 127.0.0.1; `wanted` first, then those remembered in `file`, then any.
 * @throws `PORT_TAKEN` when nothing can be bound at all.
 */
export async function choosePorts(file: string, wanted: Partial<Ports>): Promise<ChosenPorts> {
  const remembered = readRemembered(file);
  const ports: Partial<Record<PortName, number>> = {};
  const taken: { name: PortName; wanted: number; instead: number }[] = [];
  const used = new Set<number>();
  for (const name of PORT_NAMES) {
    const candidates = [wanted[name], remembered[name], ...ANY].filter((port) => port !== undefined);
    const port = await firstFree(candidates, used);
    used.add(port);
    ports[name] = port;
    const first = wanted[name];
    if (first !== undefined && first !== port) taken.push({ name, wanted: first, instead: port });
  }
  writeFileSync(file, `${JSON.stringify(ports)}\n`, { mode: 0o600 });
  return { ports: ports as Ports, taken };
}

async function firstFree(candidates: readonly number[], used: ReadonlySet<number>): Promise<number> {
  for (const candidate of candidates) {
    const port = await tryPort(candidate);
    if (port !== undefined && !used.has(port)) return port;
  }
  throw new MoatError('PORT_TAKEN', 'no port of 127.0.0.1 can be opened');
}

/** The port, if it can be bound; undefined when another program has it. */
export function tryPort(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      const { port: bound } = server.address() as AddressInfo;
      server.close(() => resolve(bound));
    });
  });
}

function readRemembered(file: string): Partial<Ports> {
  if (!existsSync(file)) return {};
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Partial<Ports>;
  } catch {
    return {};
  }
}
