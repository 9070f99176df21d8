/** What the operating system refused, in our codes: a full disk or a taken port is no bug of Moat. */
import { MoatError, errorCode } from '@moat/core';

interface SystemError extends Error {
  readonly code: string;
  readonly syscall?: string;
  readonly path?: string;
  readonly address?: string;
  readonly port?: number;
}

const LISTEN_REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program uses it (EADDRINUSE)',
  EADDRNOTAVAIL: 'this machine has no such address (EADDRNOTAVAIL)',
  EACCES: 'ports below 1024 need root or CAP_NET_BIND_SERVICE (EACCES)',
};

const FILE_REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not: see its permissions and those of its directory (EACCES)',
  EISDIR: 'it is a directory (EISDIR)',
  ENOSPC: 'the disk is full (ENOSPC)',
  ENOTDIR: 'a part of the path is a file, not a directory (ENOTDIR)',
  EPERM: 'this user may not (EPERM)',
  EROFS: 'the file system is read-only (EROFS)',
};

/** Why a file could not be used, for a code such as `EACCES`. */
export function fileReason(code: string): string {
  return FILE_REASONS[code] ?? `the operating system says ${code}`;
}

/** Why nothing can listen, when that is somewhere among the causes. */
export function listenReason(error: MoatError): string | undefined {
  const found = causes(error).find((cause) => cause.syscall === 'listen' || cause.code === 'EADDRINUSE');
  const { listen } = error.details;
  if (found === undefined) {
    return Array.isArray(listen) ? `${listen.join(', ')}: in use, or no address of this machine` : undefined;
  }
  const reason = LISTEN_REASONS[found.code] ?? `the operating system says ${found.code}`;
  return found.port === undefined || error.message.includes(String(found.port))
    ? reason
    : `${hostOf(found.address)}port ${found.port}: ${reason}`;
}

/** The coded form of an error of the operating system; undefined for any other. */
export function fromSystem(error: unknown): MoatError | undefined {
  const [system] = causes(error).slice(0, 1);
  if (system === undefined) return undefined;
  const { code, syscall, path, address, port } = system;
  if (syscall === 'listen') {
    const where = port === undefined ? (address ?? 'the socket') : `${hostOf(address)}port ${port}`;
    const reason = LISTEN_REASONS[code] ?? `the operating system says ${code}`;
    return new MoatError('LISTEN_FAILED', `cannot listen on ${where}`, { cause: error, reason });
  }
  if (code === 'ENOSPC')
    return new MoatError('DISK_FULL', `cannot write ${path ?? 'a file'}`, { cause: error, reason: fileReason(code) });
  if (path === undefined || FILE_REASONS[code] === undefined) return undefined;
  return new MoatError('FILE_UNREADABLE', `cannot use ${path}`, { cause: error, reason: fileReason(code) });
}

function hostOf(address: string | undefined): string {
  return address === undefined || address === '::' || address === '0.0.0.0' ? '' : `${address} `;
}

/** The error and what caused it, as far as they come from the operating system. */
function causes(error: unknown): SystemError[] {
  const found: SystemError[] = [];
  let at = error;
  // The bound ends a chain that leads to itself.
  for (let depth = 0; at instanceof Error && depth < 10; depth++) {
    const inner: unknown = at instanceof AggregateError ? at.errors[0] : at.cause;
    if (/^E[A-Z]+$/.test(errorCode(at))) found.push(at as SystemError);
    at = inner;
  }
  return found;
}
