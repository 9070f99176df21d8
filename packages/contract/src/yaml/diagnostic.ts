/** What validation has to say about a file: where, what, and what to write instead. */
import type { ContractErrorCode } from '../errors.ts';

/** The four passes, in order; a pass with errors ends validation. */
export type ValidationPass = 'syntax' | 'schema' | 'references' | 'online';

/** A place in the text; both count from 1. */
export interface Position {
  readonly line: number;
  readonly col: number;
}

/** Field names and list indexes from the root of the file. */
export type FieldPath = readonly (string | number)[];

/** One finding. `warning` does not stop anything. */
export interface Diagnostic extends Position {
  readonly file: string;
  readonly severity: 'error' | 'warning';
  readonly pass: ValidationPass;
  readonly code: ContractErrorCode;
  /** The field, as `services.web.on[0]`; empty for the whole file. */
  readonly path: string;
  readonly message: string;
  /** What was probably meant, or what to do. */
  readonly hint?: string;
}

/** At most this many are reported of one file; the rest would say the same. */
export const MAX_DIAGNOSTICS = 50;

/** `moat.yaml:8:14 services.web.protcol: unknown field; did you mean protocol?` */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { file, line, col, path, message, hint } = diagnostic;
  return `${file}:${line}:${col} ${path === '' ? '' : `${path}: `}${message}${hint === undefined ? '' : `; ${hint}`}`;
}

/** `services.web.on[0]`; a name with dots in it is written `publish["www.shop.example"]`. */
export function formatPath(path: FieldPath): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (/^[\w-]{1,63}$/.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${JSON.stringify(part.slice(0, 64))}]`;
  }
  return text;
}
