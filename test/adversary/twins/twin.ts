/**
 * A hostile machine made of our own parts: the same overlay and links as a node or a gateway has, with another mind.
 * It says, asks and keeps what it wants; only keys it does not have stop it.
 */
import { once } from 'node:events';
import {
  isMoatError,
  silentLogger,
  systemClock,
  type ByteChannel,
  type Link,
  type FieldList,
  type LinkStream,
  type OpenRequest,
  type PeerConnection,
  type PeerId,
} from '@moat/core';
import {
  canonicalBytes,
  createClaim,
  createInvite,
  parseContract,
  parseToken,
  type PublicationBundle,
} from '@moat/contract';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { createLinks, type LinkService } from '@moat/link';
import { createMemoryAddressBook, createOverlay, type JoinAnswer, type Overlay } from '@moat/overlay';
import { eventually } from '../../e2e/machine.ts';
import { TwinView } from './view.ts';

export interface TwinOptions {
  readonly key?: NodeKey;
  /** What its link port says it is. @defaultValue member */
  readonly role?: 'member' | 'gateway';
  /** The machine's own view of deployments. */
  readonly view?: TwinView;
  /** False: it serves no links; a test answers `/moat/link/1` by itself. @defaultValue true */
  readonly links?: boolean;
  /** Milliseconds it lets others stay without a reason. @defaultValue 60000 */
  readonly probationMs?: number;
}

export class Twin implements AsyncDisposable {
  readonly key: NodeKey;
  readonly view: TwinView;
  readonly overlay: Overlay;
  readonly links: LinkService;
  /** What it was shown as a gateway, newest last. */
  readonly bundles: { readonly peer: PeerId; readonly bundle: PublicationBundle }[] = [];
  /** What others asked of it. */
  readonly asked: { readonly peer: PeerId; readonly request: OpenRequest }[] = [];
  readonly #hasLinks: boolean;

  private constructor(options: TwinOptions) {
    this.key = options.key ?? createNodeKey();
    this.#hasLinks = options.links ?? true;
    this.view = options.view ?? new TwinView();
    const base = { logger: silentLogger, clock: systemClock };
    this.overlay = createOverlay(
      { ...base, key: this.key, deployments: this.view, addressBook: createMemoryAddressBook() },
      {
        listen: ['/ip4/127.0.0.1/tcp/0'],
        mdns: false,
        limits: { probationMs: options.probationMs ?? 60_000, redialMinMs: 100, redialMaxMs: 1000 },
      },
    );
    this.links = createLinks(
      { ...base, control: this.overlay, accept: (stream) => this.#accept(stream) },
      { role: options.role ?? 'member', mayLink: () => true, listen: { host: '127.0.0.1', port: 0 } },
    );
    this.view.onChange = () => this.overlay.viewChanged();
    if (options.role === 'gateway') {
      this.overlay.servePublish(async (peer, _connection, bundle) => {
        this.bundles.push({ peer, bundle });
        const names = bundle.publications.map(({ name }) => ({
          name,
          host: `${name}.evil`,
          url: `https://${name}.evil`,
        }));
        return { ok: true, names, refused: [] };
      });
    }
  }

  static async start(options: TwinOptions = {}): Promise<Twin> {
    const twin = new Twin(options);
    await twin.overlay.start({ signal: AbortSignal.timeout(10_000) });
    if (twin.#hasLinks) await twin.links.start({ signal: AbortSignal.timeout(10_000) });
    return twin;
  }

  get peer(): PeerId {
    return this.key.peerId;
  }

  /** Multiaddr with its PeerId. */
  get address(): string {
    return this.overlay.addresses()[0] ?? '';
  }

  /** A connection to a machine, by its addresses; tried three times, since it may close the one it had. */
  async dial(addresses: readonly string[]): Promise<PeerConnection> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.overlay.dial(addresses, AbortSignal.timeout(10_000));
      } catch (error) {
        if (tries === 3) throw error;
      }
    }
  }

  /** A claim on the place of a token, as an honest machine would make it. */
  claim(text: string): Parameters<Overlay['requestJoin']>[1] {
    const { deployment, member = '', seed } = parseToken(text);
    const details = { nonce: Buffer.alloc(16, 7).toString('base64url'), member, wireguard: null };
    const inviteSigner = seed === undefined ? null : createInvite(Buffer.from(seed, 'base64url')).signer;
    return { signed: createClaim({ deployment, details, nodeSigner: this.key.signer, inviteSigner }), details };
  }

  /** Takes the place of a token at the keepers it names, or at others. */
  async join(text: string, keepers: readonly string[] = parseToken(text).keepers): Promise<JoinAnswer> {
    const answer = await this.overlay.requestJoin(keepers, this.claim(text), AbortSignal.timeout(15_000));
    if (answer.ok) {
      const contract = parseContract(answer.contract);
      this.view.hold({ contract, bytes: canonicalBytes(contract), proof: answer.proof }, [
        answer.claim,
        ...answer.claims,
      ]);
    }
    return answer;
  }

  /** The link to `peer`: the one that stands, or a new one over the connection that does. */
  async link(peer: PeerId): Promise<Link> {
    return this.links.get(peer) ?? this.links.connect(peer, AbortSignal.timeout(10_000));
  }

  /** The link a member made to this gateway. */
  linkFrom(peer: PeerId): Promise<Link> {
    return eventually('the member linked to the twin', async () => this.links.get(peer));
  }

  /** Asks over a link: the status of an http answer, `connected`, or the code of the refusal. */
  async ask(link: Link, request: OpenRequest, authority = 'evil.localhost', fields: FieldList = []): Promise<string> {
    let stream: LinkStream;
    try {
      stream = link.open(
        request,
        request.kind === 'http' ? { method: 'GET', authority, target: '/', fields, bodyless: true } : undefined,
      );
    } catch (error) {
      if (isMoatError(error)) return error.code;
      throw error;
    }
    const { promise, resolve } = Promise.withResolvers<string>();
    stream.listen({
      onHead: (head) => {
        resolve('status' in head ? String(head.status) : 'connected');
        stream.reset('CLIENT_RESET');
      },
      onData: () => undefined,
      onEnd: () => undefined,
      onDrain: () => undefined,
      onClose: (code) => resolve(code ?? 'ended'),
    });
    if (request.kind === 'http') stream.end();
    return promise;
  }

  /** Opens a tcp stream that stays; `closed` tells its code once it ended. */
  async hold(link: Link, request: OpenRequest): Promise<{ readonly closed: Promise<string> }> {
    const stream = link.open(request);
    const connected = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<string>();
    stream.listen({
      onHead: () => connected.resolve(),
      onData: () => undefined,
      onEnd: () => undefined,
      onDrain: () => undefined,
      onClose: (code) => {
        connected.reject(new Error(`refused: ${code}`));
        closed.resolve(code ?? 'ended');
      },
    });
    connected.promise.catch(() => undefined);
    await connected.promise;
    return { closed: closed.promise };
  }

  /** Writes raw bytes on a protocol, ends, and gives all that came back and how it ended. */
  async sendRaw(connection: PeerConnection, protocol: string, bytes: Uint8Array, waitMs = 8000): Promise<RawOutcome> {
    let channel: ByteChannel;
    try {
      channel = await this.overlay.openBytes(connection, protocol, AbortSignal.timeout(10_000));
    } catch (error) {
      return { ending: isMoatError(error) ? 'refused' : String(error), answer: Buffer.alloc(0) };
    }
    const chunks: Buffer[] = [];
    const { promise, resolve } = Promise.withResolvers<RawOutcome['ending']>();
    channel.onData = (chunk) => void chunks.push(Buffer.from(chunk));
    channel.onEnd = () => resolve('ended');
    channel.onClose = () => resolve('reset');
    if (bytes.length > 0) channel.write(bytes);
    channel.end();
    const timer = setTimeout(() => resolve('open'), waitMs);
    const ending = await promise;
    clearTimeout(timer);
    channel.destroy();
    return { ending, answer: Buffer.concat(chunks) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#hasLinks) await this.links.stop();
    await this.overlay.stop();
  }

  #accept(stream: LinkStream): void {
    this.asked.push({ peer: stream.peer, request: stream.request });
    stream.listen({
      onHead: () => undefined,
      onData: (chunk) => void stream.write(chunk),
      onEnd: () => stream.end(),
      onDrain: () => undefined,
      onClose: () => undefined,
    });
    stream.writeHead(stream.request.kind === 'http' ? { status: 200, fields: [] } : { connected: true });
  }
}

export interface RawOutcome {
  /** `open` when the other side had ended nothing in time. */
  readonly ending: string;
  readonly answer: Buffer;
}

/** Messages of Moat's framing: 4 bytes of length, then the message. */
export function framed(...messages: readonly (Uint8Array | object)[]): Buffer {
  return Buffer.concat(
    messages.map((message) => {
      const bytes = message instanceof Uint8Array ? message : Buffer.from(JSON.stringify(message));
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return Buffer.concat([length, bytes]);
    }),
  );
}

/** Reads the framed messages of an answer, as far as they are whole. */
export function unframed(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at + 4 <= bytes.length;) {
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) break;
    messages.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return messages;
}

/** A document in parts, small enough for one. */
export function inParts(document: object): Buffer {
  const bytes = Buffer.from(JSON.stringify(document));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return framed(length, bytes);
}

/** Waits until the connection is gone. */
export async function gone(connection: PeerConnection, withinMs = 15_000): Promise<void> {
  if (!connection.closed.aborted) await once(connection.closed, 'abort', { signal: AbortSignal.timeout(withinMs) });
}
