/**
 * The server's half of RFC 6455, as small as a live page needs it: text messages of up to 4 KiB,
 * whole or in fragments, ping, pong and close. No extensions.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const MAX_MESSAGE_BYTES = 4 * 1024;
/** A client that lets this much pile up is disconnected. */
const MAX_UNREAD_BYTES = 64 * 1024;

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
/** RFC 6455 §7.4.1 */
const CLOSE = { normal: 1000, protocol: 1002, unsupported: 1003, notText: 1007, tooLarge: 1009 } as const;

export interface WebSocketEvents {
  onMessage(text: string): void;
  /** Called exactly once. */
  onClose(): void;
}

/** Answers the handshake (RFC 6455 §4.2); undefined when the request is not one, then it was refused. */
export function acceptWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  events: WebSocketEvents,
): WebSocket | undefined {
  const key = request.headers['sec-websocket-key'];
  if (
    request.method !== 'GET' ||
    request.headers.upgrade?.toLowerCase() !== 'websocket' ||
    request.headers['sec-websocket-version'] !== '13' ||
    key === undefined ||
    Buffer.from(key, 'base64').length !== 16 ||
    !sameOrigin(request)
  ) {
    socket.end(
      'HTTP/1.1 400 Bad Request\r\nsec-websocket-version: 13\r\nconnection: close\r\ncontent-length: 0\r\n\r\n',
    );
    return undefined;
  }
  const accept = createHash('sha1')
    .update(key + GUID)
    .digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
  return new WebSocket(socket, events);
}

/** A page of another site may open a WebSocket to us (no CORS there), so we look at Origin ourselves. */
function sameOrigin(request: IncomingMessage): boolean {
  const { origin, host } = request.headers;
  if (origin === undefined) return true;
  return URL.canParse(origin) && new URL(origin).host === host;
}

export class WebSocket {
  readonly #socket: Duplex;
  readonly #events: WebSocketEvents;
  #buffered: Buffer = Buffer.alloc(0);
  #fragments: Buffer[] | undefined;
  #fragmentBytes = 0;
  #closing = false;

  constructor(socket: Duplex, events: WebSocketEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => socket.end());
    socket.on('error', () => undefined);
    socket.on('close', () => events.onClose());
  }

  send(text: string): void {
    if (this.#closing || this.#socket.destroyed) return;
    if (this.#socket.writableLength > MAX_UNREAD_BYTES) return void this.#socket.destroy();
    this.#socket.write(frame(OPCODE.text, Buffer.from(text)));
  }

  close(code: number = CLOSE.normal): void {
    if (this.#closing || this.#socket.destroyed) return;
    this.#closing = true;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.#socket.end(frame(OPCODE.close, payload));
    // A client that does not end its side is not waited for.
    setTimeout(() => this.#socket.destroy(), 1000).unref();
  }

  /** RFC 6455 §5.2; bytes after a close frame are ignored. */
  #read(chunk: Buffer): void {
    this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
    while (!this.#closing && this.#buffered.length >= 2) {
      const first = this.#buffered[0] ?? 0;
      const second = this.#buffered[1] ?? 0;
      if ((first & 0x70) !== 0 || (second & 0x80) === 0) return this.close(CLOSE.protocol);
      let length = second & 0x7f;
      let offset = 2;
      if (length === 127) return this.close(CLOSE.tooLarge);
      if (length === 126) {
        if (this.#buffered.length < 4) return;
        length = this.#buffered.readUInt16BE(2);
        offset = 4;
      }
      if (length > MAX_MESSAGE_BYTES) return this.close(CLOSE.tooLarge);
      const end = offset + 4 + length;
      if (this.#buffered.length < end) return;
      const payload = unmask(this.#buffered.subarray(offset + 4, end), this.#buffered.subarray(offset, offset + 4));
      this.#buffered = this.#buffered.subarray(end);
      this.#take(first & 0x0f, (first & 0x80) !== 0, payload);
    }
  }

  #take(opcode: number, final: boolean, payload: Buffer): void {
    if (opcode >= OPCODE.close) {
      if (!final || payload.length > 125) return this.close(CLOSE.protocol);
      if (opcode === OPCODE.close) return this.close(CLOSE.normal);
      if (opcode === OPCODE.ping) this.#socket.write(frame(OPCODE.pong, payload));
      else if (opcode !== OPCODE.pong) this.close(CLOSE.protocol);
      return;
    }
    if (opcode === OPCODE.binary) return this.close(CLOSE.unsupported);
    const begins = opcode === OPCODE.text;
    if ((!begins && opcode !== OPCODE.continuation) || begins === (this.#fragments !== undefined)) {
      return this.close(CLOSE.protocol);
    }
    this.#fragments ??= [];
    this.#fragments.push(payload);
    this.#fragmentBytes += payload.length;
    if (this.#fragmentBytes > MAX_MESSAGE_BYTES || this.#fragments.length > 64) return this.close(CLOSE.tooLarge);
    if (final) this.#deliver(Buffer.concat(this.#fragments));
  }

  #deliver(message: Buffer): void {
    this.#fragments = undefined;
    this.#fragmentBytes = 0;
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(message);
    } catch {
      return this.close(CLOSE.notText);
    }
    this.#events.onMessage(text);
  }
}

function unmask(payload: Buffer, mask: Buffer): Buffer {
  const plain = Buffer.from(payload);
  for (let i = 0; i < plain.length; i++) plain[i] = (plain[i] ?? 0) ^ (mask[i & 3] ?? 0);
  return plain;
}

/** An unmasked frame, as servers send it. */
function frame(opcode: number, payload: Buffer): Buffer {
  const head =
    payload.length < 126
      ? Buffer.from([0x80 | opcode, payload.length])
      : Buffer.from([0x80 | opcode, 126, payload.length >> 8, payload.length & 0xff]);
  return Buffer.concat([head, payload]);
}
