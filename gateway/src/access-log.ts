/** Where the line of each request goes when it does not stand among the others: a file, or standard output. */
import { closeSync, openSync } from 'node:fs';
import { errorCode } from '@moat/core';
import type { AccessLogTarget } from './config.ts';
import { refusal } from './errors.ts';
import { LineBatch } from './logger.ts';
import { LogWriter } from './log-writer.ts';

const STDOUT = 1;
/** What a pipe takes whole, whoever else writes to it (PIPE_BUF of Linux). */
const ATOMIC_BYTES = 4096;

/** Bound: what waits is bounded by {@link LogWriter}. A file is only ever appended to, so several workers share one. */
export class AccessLog {
  #target: AccessLogTarget;
  #out: { readonly batch: LineBatch; readonly writer: LogWriter; readonly fd: number } | undefined;

  /** @throws `GATEWAY_CONFIG_INVALID` where the file cannot be opened */
  constructor(target: AccessLogTarget) {
    this.#target = target;
    this.#out = open(target);
  }

  /** True: lines stand among the others. */
  get isElsewhere(): boolean {
    return this.#target === 'log';
  }

  write(line: string): void {
    this.#out?.batch.write(line, false);
  }

  /**
   * Goes on at another target, or at the same file opened anew after somebody moved it away.
   * @throws `GATEWAY_CONFIG_INVALID` where the file cannot be opened; then everything stays as it was
   */
  reopen(target: AccessLogTarget): void {
    const next = open(target);
    const last = this.#out;
    this.#target = target;
    this.#out = next;
    last?.batch.flush();
    if (last !== undefined && last.fd !== STDOUT) last.writer.end(() => closeSync(last.fd));
  }

  /** Writes what waits before it returns; for the end of the process. */
  finish(): void {
    this.#out?.batch.flush();
    this.#out?.writer.finish();
  }
}

function open(target: AccessLogTarget): { batch: LineBatch; writer: LogWriter; fd: number } | undefined {
  if (target === 'log' || target === 'off') return undefined;
  if (target === 'stdout') return outputOn(STDOUT, ATOMIC_BYTES);
  try {
    return outputOn(openSync(target.file, 'a', 0o640), undefined);
  } catch (cause) {
    const message = `accessLog: cannot open ${target.file} (${errorCode(cause)})`;
    throw refusal('GATEWAY_CONFIG_INVALID', message, { cause });
  }
}

function outputOn(fd: number, maxWriteBytes: number | undefined): { batch: LineBatch; writer: LogWriter; fd: number } {
  const writer = new LogWriter(fd, maxWriteBytes);
  return { batch: new LineBatch(writer), writer, fd };
}
