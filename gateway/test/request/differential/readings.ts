/**
 * The same bytes as two parsers read them: the gateway's, and node:http's in its strict mode. Both run in one turn,
 * without a socket.
 */
import { createServer, IncomingMessage, METHODS, type Server } from 'node:http';
import { Duplex } from 'node:stream';
import { isMoatError } from '@moat/core';
import { RequestParser } from '../../../src/request/http1-parser.ts';
import { HOST } from '../../edge-under-test.ts';

export interface Message {
  readonly method: string;
  readonly target: string;
  /** Latin-1. */
  body: string;
  /** Its end was found. */
  whole: boolean;
  /**
   * Node reads nothing behind it where we may: it asks to switch protocols, though nobody switches, or has the
   * Proxy-Connection that no standard knows.
   */
  isLastToNode?: boolean;
}

export interface Reading {
  readonly messages: readonly Message[];
  /** What ended the reading before the bytes did. */
  readonly refusal: string | undefined;
}

const MAX_HEAD_BYTES = 16 * 1_024;

/** What the front end takes of these bytes, given in pieces. */
export function readByGateway(pieces: readonly Buffer[]): Reading {
  const messages: Message[] = [];
  let current: Message | undefined;
  let over = false;
  const parser = new RequestParser(
    { scheme: 'https', servername: HOST, maxHeadBytes: MAX_HEAD_BYTES },
    {
      onHead: ({ method, target, wantsClose, upgrade }) => {
        // A request to switch protocols is whole with its head.
        current = { method, target, body: '', whole: upgrade !== undefined };
        messages.push(current);
        over = wantsClose;
      },
      onBody: (chunk) => {
        if (current) current.body += chunk.toString('latin1');
        return true;
      },
      onEnd: () => {
        if (current) current.whole = true;
      },
    },
  );
  try {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length;) {
        at = parser.execute(piece, at);
        // Behind the last request, and behind a head that asks to switch protocols, nothing is read as a request.
        if (parser.isSwitched || (parser.isComplete && over)) return { messages, refusal: undefined };
        if (parser.isComplete) parser.next();
      }
    }
  } catch (error) {
    if (!isMoatError(error)) throw error;
    return { messages, refusal: error.code };
  }
  return { messages, refusal: undefined };
}

/** Reads like a server of node:http; one for many cases. */
export class NodeReader {
  readonly #server: Server;
  #messages: Message[] = [];
  #refusal: string | undefined;

  constructor() {
    const { IncomingMessage: Recording, of } = recordingMessages();
    this.#server = createServer({
      insecureHTTPParser: false,
      maxHeaderSize: MAX_HEAD_BYTES,
      IncomingMessage: Recording,
      shouldUpgradeCallback: (request) => {
        of(request).isLastToNode = true;
        return false;
      },
    });
    const take = (request: IncomingMessage): void => void this.#messages.push(of(request));
    for (const event of ['request', 'checkContinue', 'checkExpectation']) this.#server.on(event, take);
    this.#server.on('clientError', (error: NodeJS.ErrnoException) => (this.#refusal ??= error.code ?? error.message));
  }

  read(bytes: Buffer): Reading {
    this.#messages = [];
    this.#refusal = undefined;
    const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    Object.assign(socket, { setTimeout: () => socket, setNoDelay: () => socket, setKeepAlive: () => socket });
    this.#server.emit('connection', socket);
    socket.emit('data', bytes);
    const reading = { messages: this.#messages, refusal: this.#refusal };
    // Now, not a turn later: the parser goes back before the next case.
    socket.emit('close');
    return reading;
  }
}

/** A class of messages that keep what the parser pushes into them, in the same turn. */
function recordingMessages(): { IncomingMessage: typeof IncomingMessage; of: (request: IncomingMessage) => Message } {
  const kept = new WeakMap<IncomingMessage, Message>();
  const of = (request: IncomingMessage): Message => {
    const known = kept.get(request);
    if (known) return known;
    const message: Message = { method: request.method ?? '', target: pathOf(request), body: '', whole: false };
    kept.set(request, message);
    return request.headers['proxy-connection'] === undefined ? message : Object.assign(message, { isLastToNode: true });
  };
  class Recording extends IncomingMessage {
    override push(chunk: Buffer | null): boolean {
      const message = of(this);
      if (chunk === null) message.whole = true;
      else message.body += chunk.toString('latin1');
      return true;
    }
  }
  return { IncomingMessage: Recording, of };
}

/** The target as the gateway writes it: a URL on its own host becomes a path. */
function pathOf({ method = '', url = '' }: IncomingMessage): string {
  const absolute = /^https:\/\/[^/?]*(.*)$/i.exec(url);
  if (!absolute) return url;
  const [, rest = ''] = absolute;
  if (rest === '' && method === 'OPTIONS') return '*';
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/**
 * Why these readings cannot both be right, or undefined. Whatever the gateway took, Node must have taken, with the same
 * ends: the gateway may stop earlier, never read further or elsewhere.
 */
export function disagreement(gateway: Reading, node: Reading): string | undefined {
  for (const [i, ours] of gateway.messages.entries()) {
    const theirs = node.messages[i];
    if (theirs === undefined && node.messages[i - 1]?.whole === true && node.messages[i - 1]?.isLastToNode === true)
      return undefined;
    if (!METHODS.includes(ours.method)) return `message ${i}: ${ours.method} is no method that Node knows`;
    if (theirs === undefined) return `message ${i}: Node refused it (${node.refusal ?? 'it waits'})`;
    if (ours.method !== theirs.method) return `message ${i}: ${ours.method} is ${theirs.method} to Node`;
    if (ours.target !== theirs.target) return `message ${i}: ${ours.target} is ${theirs.target} to Node`;
    if (ours.whole) {
      if (!theirs.whole) return `message ${i}: Node has not found its end (${node.refusal ?? 'it waits'})`;
      if (ours.body !== theirs.body) return `message ${i}: the body is another to Node`;
    } else if (!theirs.body.startsWith(ours.body) && !ours.body.startsWith(theirs.body)) {
      return `message ${i}: the beginning of its body is another to Node`;
    }
  }
  return undefined;
}
