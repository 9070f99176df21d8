/**
 * The one error class of Moat. Branch on `code`, never on the text; the sentence is for people.
 * Each package lists its codes in its own `errors.ts`; `docs/errors.md` gives meaning and remedy.
 */

/** Plain data that may be logged or sent: never keys, never payloads. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null | readonly string[]>>;

/** What an error may carry besides its code and sentence. */
export interface MoatErrorOptions {
  /** The error underneath, always kept. */
  readonly cause?: unknown;
  readonly details?: ErrorDetails;
  /** One sentence: why this happened. */
  readonly reason?: string;
  /** Commands or actions that lead on, best first. */
  readonly next?: readonly string[];
  /** True when the same call may succeed later. */
  readonly retryable?: boolean;
}

/** The form of an error in `--json` output, in the local API and in gateway answers. */
export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly cause?: string;
  readonly next: readonly string[];
  readonly retryable: boolean;
}

/** A coded error. `kind` is a literal so that checks work across two copies of this package. */
export class MoatError<C extends string = string> extends Error {
  readonly kind = 'moat-error' as const;
  readonly code: C;
  readonly details: ErrorDetails;
  readonly reason: string | undefined;
  readonly next: readonly string[];
  readonly retryable: boolean;

  constructor(code: C, message: string, options: MoatErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MoatError';
    this.code = code;
    this.details = options.details ?? {};
    this.reason = options.reason;
    this.next = options.next ?? [];
    this.retryable = options.retryable ?? false;
  }

  toBody(): ErrorBody {
    return {
      code: this.code,
      message: this.message,
      ...(this.reason === undefined ? {} : { cause: this.reason }),
      next: this.next,
      retryable: this.retryable,
    };
  }
}

/** True when `error` is a MoatError, with this code if one is given. */
export function isMoatError<C extends string>(error: unknown, code?: C): error is MoatError<C> {
  if (typeof error !== 'object' || error === null) return false;
  const candidate = error as { kind?: unknown; code?: unknown };
  return candidate.kind === 'moat-error' && (code === undefined || candidate.code === code);
}

/** The code of any error: its own, Node's (`ECONNREFUSED`), or `INTERNAL`. */
export function errorCode(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string') {
    return error.code;
  }
  return 'INTERNAL';
}

/** Codes that core itself raises. Beside each: meaning | remedy. */
export const CORE_ERROR_CODES = [
  'ID_INVALID', // a PeerId, key, hash or signature is not in its canonical text form | copy it again, whole
  'QUEUE_FULL', // a bounded queue holds its limit | try again; if it persists, look at what the log says is slow
  'INTERNAL', // an error without a code of ours: a defect | report it with the log line that has the same id or time
] as const;
export type CoreErrorCode = (typeof CORE_ERROR_CODES)[number];
