/**
 * The first message of a TLS client, read without answering it (RFC 8446 §4.1.2, §5.1): which name it asks for and which
 * protocols it would speak. It may come in any number of segments and of records. What is not exactly one well-formed
 * ClientHello with exactly one name is refused, with the alert that says so: a reader that is more lenient than the one
 * behind it would judge another name than that one sees.
 */

/** What a gateway decides by. */
export interface ClientHello {
  /** As the client wrote it. */
  readonly serverName: string;
  /** ALPN, in the client's order; empty without it. */
  readonly protocols: readonly string[];
}

/** Alerts of RFC 8446 §6. */
export const ALERT = {
  unexpectedMessage: 10,
  recordOverflow: 22,
  handshakeFailure: 40,
  illegalParameter: 47,
  decodeError: 50,
  protocolVersion: 70,
  internalError: 80,
  unrecognizedName: 112,
} as const;

export type Alert = (typeof ALERT)[keyof typeof ALERT];

/** Why a handshake ends before it began. */
export class HelloRefused extends Error {
  readonly alert: Alert;

  constructor(alert: Alert, reason: string) {
    super(reason);
    this.alert = alert;
  }
}

/** A fatal alert in the clear, as no keys exist yet. */
export function alertRecord(alert: Alert): Uint8Array {
  return Uint8Array.of(0x15, 0x03, 0x03, 0x00, 0x02, 0x02, alert);
}

/** Bytes in which a hello must be whole, with the headers of its records. */
const MAX_HELLO_BYTES = 16 * 1024;
const MAX_RECORD_BYTES = 16 * 1024;
const RECORD_HEADER = 5;
const HANDSHAKE_HEADER = 4;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ALPN = 16;

/** Bound: 16 KiB and one read of the socket. */
export class ClientHelloReader {
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;
  /** Where the next record begins. */
  #recordAt = 0;
  /** Payloads of whole records: from, to. */
  #parts: (readonly [number, number])[] = [];
  #partBytes = 0;
  /** How many of those it takes to know more: records of one byte shall not be joined one by one. */
  #wanted = HANDSHAKE_HEADER;

  /** Everything pushed so far. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Undefined while more is needed; nothing is pushed after a hello. Keeps `chunk`. @throws HelloRefused */
  push(chunk: Buffer): ClientHello | undefined {
    this.#append(chunk);
    while (this.#length - this.#recordAt >= RECORD_HEADER) {
      const from = this.#recordAt + RECORD_HEADER;
      const to = from + this.#recordLength();
      if (to > this.#length) break;
      this.#parts.push([from, to]);
      this.#partBytes += to - from;
      this.#recordAt = to;
      const message = this.#message();
      if (message !== undefined) return readHello(message);
    }
    if (this.#length - this.#recordAt > 0 && this.#bytes[this.#recordAt] !== HANDSHAKE) {
      throw new HelloRefused(ALERT.unexpectedMessage, 'no handshake');
    }
    if (this.#length >= MAX_HELLO_BYTES) throw new HelloRefused(ALERT.decodeError, 'a hello that is too long');
    return undefined;
  }

  #append(chunk: Buffer): void {
    if (this.#length === 0) this.#bytes = chunk;
    else {
      const length = this.#length + chunk.length;
      if (length > this.#bytes.length) {
        const larger = Buffer.allocUnsafe(Math.max(1_024, this.#length * 2, length));
        this.#bytes.copy(larger, 0, 0, this.#length);
        this.#bytes = larger;
      }
      chunk.copy(this.#bytes, this.#length);
    }
    this.#length += chunk.length;
  }

  #recordLength(): number {
    const at = this.#recordAt;
    const bytes = this.#bytes;
    if (bytes[at] !== HANDSHAKE) throw new HelloRefused(ALERT.unexpectedMessage, 'no handshake');
    if (bytes[at + 1] !== 3) throw new HelloRefused(ALERT.protocolVersion, 'no TLS');
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0) throw new HelloRefused(ALERT.decodeError, 'an empty record');
    if (length > MAX_RECORD_BYTES) throw new HelloRefused(ALERT.recordOverflow, 'a record that is too long');
    return length;
  }

  /** The handshake message without its header, once its records are whole. */
  #message(): Buffer | undefined {
    const [first] = this.#parts;
    if (first === undefined || this.#partBytes < this.#wanted) return undefined;
    const message = this.#parts.length === 1 ? this.#bytes.subarray(...first) : this.#joined();
    if (message[0] !== CLIENT_HELLO) throw new HelloRefused(ALERT.unexpectedMessage, 'no ClientHello');
    const end = HANDSHAKE_HEADER + message.readUIntBE(1, 3);
    if (end > MAX_HELLO_BYTES) throw new HelloRefused(ALERT.decodeError, 'a hello that is too long');
    this.#wanted = end;
    if (end > message.length) return undefined;
    // Nothing may follow in the same record: keys change behind this message.
    if (end < message.length) throw new HelloRefused(ALERT.unexpectedMessage, 'something behind the hello');
    return message.subarray(HANDSHAKE_HEADER, end);
  }

  #joined(): Buffer {
    return Buffer.concat(this.#parts.map(([from, to]) => this.#bytes.subarray(from, to)));
  }
}

/** Reads vectors and never beyond them. */
class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(length: number): Buffer {
    const from = this.#at;
    this.#at += length;
    if (this.#at > this.#bytes.length) throw new HelloRefused(ALERT.decodeError, 'cut short');
    return this.#bytes.subarray(from, this.#at);
  }

  u8(): number {
    return this.take(1).readUInt8();
  }

  u16(): number {
    return this.take(2).readUInt16BE();
  }

  vector8(): Buffer {
    return this.take(this.u8());
  }

  vector16(): Buffer {
    return this.take(this.u16());
  }
}

function readHello(body: Buffer): ClientHello {
  const hello = new Cursor(body);
  if (hello.u8() !== 3) throw new HelloRefused(ALERT.protocolVersion, 'no TLS');
  // The rest of the version, and the client's random.
  hello.take(1 + 32);
  if (hello.vector8().length > 32) throw new HelloRefused(ALERT.decodeError, 'a session id that is too long');
  const suites = hello.vector16().length;
  if (suites < 2 || suites % 2 !== 0) throw new HelloRefused(ALERT.decodeError, 'no cipher suites');
  if (hello.vector8().length < 1) throw new HelloRefused(ALERT.decodeError, 'no compression methods');
  let serverName: string | undefined;
  let protocols: readonly string[] = [];
  if (!hello.done) {
    const extensions = new Cursor(hello.vector16());
    if (!hello.done) throw new HelloRefused(ALERT.decodeError, 'something behind the extensions');
    const seen = new Set<number>();
    while (!extensions.done) {
      const type = extensions.u16();
      const data = extensions.vector16();
      if (seen.has(type)) throw new HelloRefused(ALERT.illegalParameter, 'an extension twice');
      seen.add(type);
      if (type === SERVER_NAME) serverName = readServerName(data);
      else if (type === ALPN) protocols = readProtocols(data);
    }
  }
  // Whatever an encrypted hello says inside: nobody here has a key for one, and without an outer name it has none.
  if (serverName === undefined) throw new HelloRefused(ALERT.handshakeFailure, 'no name');
  return { serverName, protocols };
}

/** RFC 6066 §3: one host name, as ASCII. */
function readServerName(data: Buffer): string {
  const extension = new Cursor(data);
  const list = new Cursor(extension.vector16());
  if (!extension.done) throw new HelloRefused(ALERT.decodeError, 'something behind the names');
  const type = list.u8();
  const name = list.vector16();
  if (type !== 0 || !list.done) throw new HelloRefused(ALERT.illegalParameter, 'not one host name');
  if (name.length === 0 || name.length > 255) throw new HelloRefused(ALERT.decodeError, 'a name of no length');
  if (name.some((byte) => byte <= 0x20 || byte >= 0x7f)) {
    throw new HelloRefused(ALERT.illegalParameter, 'a name that is no text');
  }
  return name.toString('latin1');
}

/** RFC 7301 §3.1. */
function readProtocols(data: Buffer): string[] {
  const extension = new Cursor(data);
  const list = new Cursor(extension.vector16());
  if (!extension.done || list.done) throw new HelloRefused(ALERT.decodeError, 'no list of protocols');
  const protocols: string[] = [];
  while (!list.done) {
    const protocol = list.vector8();
    if (protocol.length === 0) throw new HelloRefused(ALERT.decodeError, 'a protocol without a name');
    protocols.push(protocol.toString('latin1'));
  }
  return protocols;
}
