/** The messages of NAT-PMP (RFC 6886): a program asks its router for a port that leads to its own. */
import { MoatError } from '@moat/core';

/** Where routers listen. */
export const NAT_PMP_PORT = 5351;
const VERSION = 0;
const OPCODE = { external: 0, mapUdp: 1 } as const;
const IS_ANSWER = 0x80;

export type NatPmpAnswer =
  | { readonly kind: 'external'; readonly host: string }
  | {
      readonly kind: 'mapping';
      readonly internalPort: number;
      readonly externalPort: number;
      readonly lifetimeSeconds: number;
    };

/** Which address has this router outside? */
export function externalRequest(): Uint8Array {
  return Uint8Array.of(VERSION, OPCODE.external);
}

/** A UDP port that leads to `port` of the asker; a lifetime of 0 takes it back. */
export function mapRequest(port: number, lifetimeSeconds: number): Uint8Array {
  const bytes = Buffer.alloc(12);
  bytes[1] = OPCODE.mapUdp;
  bytes.writeUInt16BE(port, 4);
  bytes.writeUInt16BE(lifetimeSeconds === 0 ? 0 : port, 6);
  bytes.writeUInt32BE(lifetimeSeconds, 8);
  return bytes;
}

/** @throws `ROUTER_REFUSED` for a result other than success, `ROUTER_INVALID` for what is no answer */
export function decodeNatPmp(packet: Uint8Array): NatPmpAnswer {
  const bytes = Buffer.from(packet.buffer, packet.byteOffset, packet.length);
  if (bytes.length < 4 || bytes[0] !== VERSION) throw invalid();
  const opcode = (bytes[1] ?? 0) & ~IS_ANSWER;
  if (((bytes[1] ?? 0) & IS_ANSWER) === 0) throw invalid();
  const result = bytes.readUInt16BE(2);
  if (result !== 0) {
    throw new MoatError('ROUTER_REFUSED', 'the router maps no port for us', { details: { result } });
  }
  if (opcode === OPCODE.external && bytes.length === 12) {
    return { kind: 'external', host: bytes.subarray(8, 12).join('.') };
  }
  if (opcode !== OPCODE.mapUdp || bytes.length !== 16) throw invalid();
  return {
    kind: 'mapping',
    internalPort: bytes.readUInt16BE(8),
    externalPort: bytes.readUInt16BE(10),
    lifetimeSeconds: bytes.readUInt32BE(12),
  };
}

function invalid(): MoatError<'ROUTER_INVALID'> {
  return new MoatError('ROUTER_INVALID', 'the router answered something else');
}
