/** Ids of requests: shown to the client, in the log, and to the service. */
import { randomBytes } from 'node:crypto';

const ID_BYTES = 9;
let idBytes = Buffer.alloc(0);

/** 72 random bits, 12 characters; drawn from the system for 128 requests at a time. */
export function newRequestId(): string {
  if (idBytes.length < ID_BYTES) idBytes = randomBytes(128 * ID_BYTES);
  const id = idBytes.toString('base64url', 0, ID_BYTES);
  idBytes = idBytes.subarray(ID_BYTES);
  return id;
}
