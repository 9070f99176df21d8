/**
 * JSON lines on stderr; stdout belongs to results. A gateway says a line a request, and a system call a line was 10%
 * of its time, so lines below `warn` wait for company, at most 100 ms.
 */
import type { Logger } from '@moat/core';
import { pino, symbols } from 'pino';
import type { AccessLog } from './access-log.ts';
import { LogWriter } from './log-writer.ts';
import { AccessEntry } from './request/log.ts';

/** Characters that wait. */
const BATCH_LENGTH = 64 * 1024;
const WAIT_MS = 100;
const WARN = 40;
/** What a pipe takes whole, whoever else writes to it (PIPE_BUF of Linux). */
const ATOMIC_BYTES = 4096;

/** What lines are handed to, whole batches at a time. */
export interface LineSink {
  write(lines: string): void;
}

/** Gathers lines. Bound: a batch. */
export class LineBatch {
  readonly #sink: LineSink;
  #lines = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  /** An urgent line leaves at once, behind those that wait. */
  write(line: string, urgent: boolean): void {
    this.#lines += line;
    if (urgent || this.#lines.length >= BATCH_LENGTH) return this.flush();
    this.#timer ??= setTimeout(() => this.flush(), WAIT_MS).unref();
  }

  /** Says what waits. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const lines = this.#lines;
    this.#lines = '';
    if (lines !== '') this.#sink.write(lines);
  }
}

export interface LoggerOptions {
  /** Other processes write to the same place: lines stay whole. @defaultValue false */
  readonly shared?: boolean;
  /** Takes the lines of requests instead. @defaultValue they stand among the others */
  readonly access?: AccessLog | undefined;
}

/** To be called once a process: it flushes at the exit. What a killed process had not said yet is lost. */
export function createLogger(level: string, { shared = false, access }: LoggerOptions = {}): Logger {
  const writer = new LogWriter(2, shared ? ATOMIC_BYTES : undefined);
  const batch = new LineBatch(writer);
  process.on('exit', () => {
    access?.finish();
    batch.flush();
    writer.finish();
  });
  const stream = {
    // Asks pino to set `lastLevel` before each line.
    [symbols.needsMetadataGsym]: true,
    lastLevel: 0,
    write: (line: string): void => batch.write(line, stream.lastLevel >= WARN),
  };
  const logger = pino({ level, base: null, timestamp: stamp }, stream);
  const isEnabled = logger.isLevelEnabled('info');
  if (isEnabled || access !== undefined) sayRequestsOurselves(logger, isEnabled ? batch : undefined, access);
  return logger;
}

/** Children inherit it; they have fields of their own, which only pino knows. */
function sayRequestsOurselves(logger: Logger, batch: LineBatch | undefined, access: AccessLog | undefined): void {
  // oxlint-disable-next-line typescript/unbound-method -- it is called with the `this` that is given
  const byPino = logger.info;
  logger.info = function (this: Logger, fields: object, message: string): void {
    if (this !== logger || !(fields instanceof AccessEntry)) return byPino.call(this, fields, message);
    const isApart = access !== undefined && !access.isElsewhere;
    if (!isApart && batch === undefined) return;
    const line = `{"level":30${stamp()},${fields.toJsonMembers()},"msg":"${message}"}\n`;
    if (isApart) access.write(line);
    else batch?.write(line, false);
  };
}

let stampedMs = 0;
let stamped = '';

/** pino's `isoTime`, made once a millisecond. */
function stamp(): string {
  const now = Date.now();
  if (now !== stampedMs) {
    stampedMs = now;
    stamped = `,"time":"${new Date(now).toISOString()}"`;
  }
  return stamped;
}
