/** A gateway as far as a member sees it: verifies bundles, accepts links, opens streams. */
import { once } from 'node:events';
import { systemClock, type LinkStream, type PeerId } from '@moat/core';
import { verifyBundle, type HeadProof, type PublicationBundle } from '@moat/contract';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { createLinks, type LinkService } from '@moat/link';
import { createMemoryAddressBook, createOverlay, noDeployments, type Overlay, type PublishAnswer } from '@moat/overlay';
import { createConsoleLogger } from './console-logger.ts';

export class FakeGateway implements AsyncDisposable {
  readonly key: NodeKey;
  readonly overlay: Overlay;
  readonly links: LinkService;
  /** Every bundle that was shown, newest last. */
  readonly shown: { readonly peer: PeerId; readonly bundle: PublicationBundle }[] = [];
  /** Names refused with `NAME_HELD`. */
  readonly held = new Set<string>();
  #pinned: HeadProof | null = null;
  readonly #publishers = new Set<PeerId>();

  private constructor(key: NodeKey, port: number) {
    this.key = key;
    const logger = createConsoleLogger('gateway');
    const clock = systemClock;
    this.overlay = createOverlay(
      { logger, clock, key, deployments: noDeployments, addressBook: createMemoryAddressBook() },
      { listen: [`/ip4/127.0.0.1/tcp/${port}`], mdns: false },
    );
    this.links = createLinks(
      { logger, clock, control: this.overlay, accept: (stream) => stream.reset('GRANT_DENIED') },
      { role: 'gateway', mayLink: (peer) => this.#publishers.has(peer), listen: { host: '127.0.0.1', port: 0 } },
    );
    this.overlay.servePublish(async (peer, _, bundle) => this.#publish(peer, bundle));
  }

  static async start(key: NodeKey = createNodeKey(), port = 0): Promise<FakeGateway> {
    const gateway = new FakeGateway(key, port);
    const signal = AbortSignal.timeout(5000);
    await gateway.overlay.start({ signal });
    await gateway.links.start({ signal });
    return gateway;
  }

  get address(): string {
    return this.overlay.addresses()[0] ?? '';
  }

  get port(): number {
    return Number(/tcp\/(\d+)/.exec(this.address)?.[1]);
  }

  /** Opens an http-less stream to a service and answers its code, or `connected`. */
  async open(peer: PeerId, deployment: string, service: string): Promise<string> {
    const link = await this.#linkTo(peer);
    const stream: LinkStream = link.open({ deployment, service, kind: 'tcp' });
    return new Promise((resolve) => {
      stream.listen({
        onHead: () => {
          resolve('connected');
          stream.reset('CLIENT_RESET');
        },
        onData: () => undefined,
        onEnd: () => undefined,
        onDrain: () => undefined,
        onClose: (code) => resolve(code ?? 'closed'),
      });
    });
  }

  async #linkTo(peer: PeerId): Promise<ReturnType<LinkService['get']> & object> {
    const link = this.links.get(peer);
    if (link !== undefined) return link;
    const arrived = new EventTarget();
    using _ = { [Symbol.dispose]: this.links.onLink(() => arrived.dispatchEvent(new Event('link'))) };
    await once(arrived, 'link', { signal: AbortSignal.timeout(5000) });
    return this.#linkTo(peer);
  }

  #publish(peer: PeerId, bundle: PublicationBundle): PublishAnswer {
    this.shown.push({ peer, bundle });
    if (bundle.publications.length === 0) return { ok: true, names: [], refused: [] };
    const rules = { gateway: this.key.peerId, presenter: peer, pinned: this.#pinned, now: Date.now() };
    const { serves } = verifyBundle(bundle, rules);
    this.#pinned = bundle.proof;
    this.#publishers.add(peer);
    const [refused, names] = [true, false].map((isHeld) => serves.filter(({ name }) => this.held.has(name) === isHeld));
    return {
      ok: true,
      names: (names ?? []).map(({ name }) => ({ name, host: `${name}.localhost`, url: `https://${name}.localhost/` })),
      refused: (refused ?? []).map(({ name }) => ({ name, code: 'NAME_HELD', message: 'held by another' })),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.links.stop();
    await this.overlay.stop();
  }
}
