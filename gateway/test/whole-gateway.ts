/** A whole gateway as it is configured, nodes as far as a gateway sees them, and a client. */
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PublicationBundle } from '@moat/contract';
import { silentLogger, systemClock, type PeerConnection, type StreamAcceptor } from '@moat/core';
import { createNodeKey, loadOrCreateNodeKey, type NodeKey } from '@moat/identity';
import { createLinks, type LinkService } from '@moat/link';
import { createMemoryAddressBook, createOverlay, noDeployments, type Overlay, type PublishAnswer } from '@moat/overlay';
import { parseGatewayConfig, type GatewayConfig } from '../src/config.ts';
import type { GatewayAddresses } from '../src/addresses.ts';
import { createGateway, type Gateway } from '../src/create-gateway.ts';
import { identity, type Identity } from './shop.ts';

const FILE = `version: 1
domain: localhost
publishers: open
tls: local
listen: { https: "127.0.0.1:0", http: "127.0.0.1:0", overlay: [/ip4/127.0.0.1/tcp/0], link: "127.0.0.1:0" }
`;

/** A state of its own; `more` are further lines of gateway.yaml. */
export async function home(
  more: string = '',
): Promise<AsyncDisposable & { readonly path: string; readonly config: GatewayConfig }> {
  const path = await mkdtemp(join(tmpdir(), 'moat-gateway-'));
  const config = parseGatewayConfig(`${FILE}${more}`, join(path, 'gateway.yaml'), { MOAT_HOME: path });
  return { path, config, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export async function started(config: GatewayConfig): Promise<Gateway> {
  const gateway = createGateway(
    {
      clock: systemClock,
      logger: silentLogger,
      onStopAsked: () => undefined,
      onRestartAsked: () => undefined,
      logLevel: 'silent',
    },
    config,
  );
  await gateway.start({ signal: AbortSignal.timeout(30_000) });
  return gateway;
}

/** A node as far as a gateway sees one. */
export class Node implements AsyncDisposable {
  readonly key: NodeKey = createNodeKey();
  readonly overlay: Overlay;
  readonly links: LinkService;

  constructor(accept: StreamAcceptor) {
    this.overlay = createOverlay(
      {
        logger: silentLogger,
        clock: systemClock,
        key: this.key,
        deployments: noDeployments,
        addressBook: createMemoryAddressBook(),
      },
      { listen: [], mdns: false },
    );
    this.links = createLinks(
      { logger: silentLogger, clock: systemClock, control: this.overlay, accept },
      { role: 'member', mayLink: () => true },
    );
  }

  get identity(): Identity {
    return { ...identity('unused'), peer: this.key.peerId, signer: this.key.signer };
  }

  async start(): Promise<void> {
    await this.overlay.start({ signal: AbortSignal.timeout(10_000) });
    await this.links.start({ signal: AbortSignal.timeout(10_000) });
  }

  async show(gateway: GatewayAddresses, bundle: PublicationBundle): Promise<PublishAnswer> {
    const signal = AbortSignal.timeout(10_000);
    const connection: PeerConnection = await this.overlay.dial(gateway.peers, signal);
    return this.overlay.publish(connection, bundle, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.links.stop();
    await this.overlay.stop();
  }
}

export async function get(
  gateway: GatewayAddresses,
  host: string,
  path: string = '/',
  fields: Readonly<Record<string, string>> = {},
): Promise<{ status: number; text: string }> {
  const sent = httpsRequest({
    host: '127.0.0.1',
    port: gateway.httpsPort,
    servername: host,
    ca: await readFile(gateway.caFile ?? '', 'utf8'),
    agent: false,
    path,
    headers: { host, ...fields },
  });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
  return { status: response.statusCode ?? 0, text };
}

export async function gatewayPeer(config: GatewayConfig): Promise<string> {
  return (await loadOrCreateNodeKey(join(config.stateDirectory, 'gateway.key'))).peerId;
}
