/**
 * The end of TLS on the machine of the service: for a name that a gateway passes through unread. The hello decides, as at a
 * gateway; what is inside goes to the target as it is. Without a certificate for exactly the name that the gateway said and
 * the hello says, nothing is answered but an alert: never does anything reach the target in the clear.
 */
import type { Socket } from 'node:net';
import { TLSSocket, type SecureContext } from 'node:tls';
import {
  ALERT,
  ClientHelloReader,
  HelloRefused,
  alertRecord,
  errorCode,
  type Alert,
  type ClientHello,
  type LinkStream,
  type Logger,
} from '@moat/core';
import { abortSocket, connectTarget, type ConnectDeps } from './connect.ts';
import { StreamDuplex } from './stream-duplex.ts';
import type { Running } from './tcp.ts';
import type { SocketAddress } from '../exposed.ts';

/** What certificates there are. */
export interface TlsEnds {
  /** For a handshake under `name`; undefined = there is none, or the name is not of this service. */
  contextFor(asked: {
    readonly deployment: string;
    readonly service: string;
    readonly name: string;
  }): Promise<SecureContext | undefined>;
  /** For a certificate authority that asks for the proof of an order that runs. */
  proofFor(name: string): SecureContext | undefined;
}

export interface TlsEndDeps extends ConnectDeps {
  readonly logger: Logger;
  readonly ends: TlsEnds;
}

export interface TlsEndWork {
  readonly target: SocketAddress;
  /** What the service speaks inside, for clients that ask (ALPN). */
  readonly protocol: 'http/1.1' | 'h2';
  /** Sent to the target first. */
  readonly preamble?: Uint8Array | undefined;
}

/** ALPN of RFC 8737, alone in its hello. */
const ACME = 'acme-tls/1';
const HANDSHAKE_MS = 10_000;
/** A closed direction's last bytes. */
const LINGER_MS = 60_000;

/** Ends TLS for an accepted `tcp` stream. `onClosed` is called once, when nothing is left of it. */
export function serveTls(deps: TlsEndDeps, stream: LinkStream, work: TlsEndWork, onClosed: () => void): Running {
  return new TlsEnd(deps, stream, work, onClosed);
}

class TlsEnd implements Running {
  readonly #deps: TlsEndDeps;
  readonly #stream: LinkStream;
  readonly #work: TlsEndWork;
  readonly #duplex: StreamDuplex;
  readonly #reader = new ClientHelloReader();
  readonly #deadline: { cancel(): void };
  #onClosed: (() => void) | undefined;
  #secure: TLSSocket | undefined;
  #target: Socket | undefined;
  #isRead = false;
  /** With a handshake or an alert. */
  #isAnswered = false;
  #streamOver = false;

  constructor(deps: TlsEndDeps, stream: LinkStream, work: TlsEndWork, onClosed: () => void) {
    this.#deps = deps;
    this.#stream = stream;
    this.#work = work;
    this.#onClosed = onClosed;
    this.#duplex = new StreamDuplex(stream);
    this.#duplex.on('error', () => undefined);
    this.#deadline = deps.clock.after(HANDSHAKE_MS, () => this.abort('SERVICE_TIMEOUT'));
    const { events } = this.#duplex;
    stream.listen({
      ...events,
      onData: (chunk) => (this.#isRead ? events.onData(chunk) : this.#onHello(chunk)),
      // Whoever ends before it was answered completes no handshake.
      onEnd: (trailers) => (this.#isAnswered ? events.onEnd(trailers) : this.#left()),
      onClose: (code) => {
        this.#streamOver = true;
        events.onClose(code);
        if (code !== undefined || !this.#isRead) this.#destroy();
        this.#finish();
      },
    });
  }

  get closed(): boolean {
    return this.#onClosed === undefined;
  }

  abort(code: string): void {
    this.#stream.reset(code);
    this.#over();
  }

  #onHello(chunk: Uint8Array): void {
    let hello: ClientHello | undefined;
    try {
      hello = this.#reader.push(Buffer.from(chunk));
    } catch (error) {
      if (!(error instanceof HelloRefused)) throw error;
      return this.#alert(error.alert);
    }
    if (hello === undefined) return;
    this.#isRead = true;
    this.#stream.pause();
    this.#begin(hello).catch((err: unknown) => {
      this.#deps.logger.error(
        { service: this.#stream.request.service, err, code: errorCode(err) },
        'no certificate can be used',
      );
      this.#alert(ALERT.internalError);
    });
  }

  async #begin({ serverName, protocols }: ClientHello): Promise<void> {
    const name = serverName.toLowerCase().replace(/\.$/, '');
    // The gateway chose this machine by the name it said.
    if (name !== this.#stream.arrival?.servername) return this.#alert(ALERT.unrecognizedName);
    if (protocols.length === 1 && protocols[0] === ACME) {
      const proof = this.#deps.ends.proofFor(name);
      if (proof === undefined) return this.#alert(ALERT.unrecognizedName);
      this.#stream.writeHead({ connected: true });
      return this.#handshake(proof, ACME, (secure) => void secure.end());
    }
    const { deployment, service } = this.#stream.request;
    const context = await this.#deps.ends.contextFor({ deployment, service, name });
    if (this.closed || this.#streamOver) return undefined;
    if (context === undefined) return this.#alert(ALERT.unrecognizedName);
    this.#connect(context);
  }

  /** The service first: where there is none, another member may have it. */
  #connect(context: SecureContext): void {
    const target = connectTarget(this.#deps, this.#work.target);
    this.#target = target;
    target.on('error', () => undefined);
    target.once('connect', () => {
      if (target.destroyed || this.#streamOver) return;
      this.#stream.writeHead({ connected: true });
      if (this.#work.preamble !== undefined) target.write(this.#work.preamble);
      this.#handshake(context, this.#work.protocol, (secure) => {
        secure.pipe(target);
        target.pipe(secure);
      });
    });
    target.once('close', () => {
      if (!this.#streamOver && !(target.readableEnded && target.writableFinished)) {
        return this.abort(this.#secure === undefined ? 'SERVICE_UNREACHABLE' : 'SERVICE_RESET');
      }
      this.#finish();
    });
  }

  #handshake(context: SecureContext, protocol: string, done: (secure: TLSSocket) => void): void {
    const secure = new TLSSocket(this.#duplex, {
      isServer: true,
      secureContext: context,
      ALPNProtocols: [protocol],
      // Missing from the types: the same option tls.createServer takes.
      ...({ allowHalfOpen: true } as object),
    });
    this.#secure = secure;
    this.#isAnswered = true;
    secure.on('error', () => this.abort('SERVICE_RESET'));
    const left = (): void => this.#left();
    // Its end is told to those alone who read; before the handshake is over there is nothing else to be read.
    secure.once('end', left).resume();
    secure.once('secure', () => {
      this.#deadline.cancel();
      secure.off('end', left);
      done(secure);
    });
    secure.once('close', () => this.#finish());
    this.#duplex.push(this.#reader.bytes);
    this.#stream.resume();
  }

  /** Says why, and ends. */
  #alert(alert: Alert): void {
    if (this.closed || this.#streamOver) return;
    this.#isRead = true;
    this.#isAnswered = true;
    this.#stream.writeHead({ connected: true });
    this.#stream.write(alertRecord(alert));
    this.#stream.end();
    this.#deps.clock.after(1_000, () => this.abort('SERVICE_RESET'));
  }

  /** The client left before it was in. A clean end: to the gateway, a reset would be this machine's failure. */
  #left(): void {
    if (!this.#isAnswered) this.#stream.writeHead({ connected: true });
    this.#stream.end();
    this.#over();
  }

  #over(): void {
    this.#streamOver = true;
    this.#destroy();
    this.#finish();
  }

  #destroy(): void {
    this.#deadline.cancel();
    this.#duplex.destroy();
    this.#secure?.destroy();
    if (this.#target !== undefined) abortSocket(this.#target);
  }

  #finish(): void {
    if (!this.#streamOver) return;
    // After a clean end the target takes what is left for it.
    this.#target?.setTimeout(LINGER_MS, () => this.#target?.destroy());
    this.#deadline.cancel();
    const onClosed = this.#onClosed;
    this.#onClosed = undefined;
    onClosed?.();
  }
}
