/**
 * Whether a client's reset came while nobody read. A session of HTTP/2 does not read while it writes, and where the reset
 * meets a write Node (24.21) tells nobody: the session waits for a write that never ends, with all its requests.
 */
import type { Socket } from 'node:net';

interface InnerHandle {
  /** Asks the kernel, each time; not 0 where there is no other end. */
  getpeername?(into: object): number;
}

/** One system call. A Node without its inner way is told of no reset. */
export function isReset(socket: Socket): boolean {
  const inner = (socket as Socket & { readonly _handle?: InnerHandle | null })._handle;
  return typeof inner?.getpeername === 'function' && inner.getpeername({}) !== 0;
}
