/** One thing `moat doctor` looks at. */
import type { Context } from '../context.ts';

export interface Finding {
  /** A short noun: what was looked at. */
  readonly name: string;
  readonly result: 'ok' | 'attention' | 'problem';
  readonly message: string;
  /** What to do, where something is to do. */
  readonly fix?: string;
}

export interface Check {
  readonly name: string;
  run(context: Context): Promise<readonly Finding[]>;
}

export function ok(name: string, message: string): Finding {
  return { name, result: 'ok', message };
}

/** Works, but not as well as it could. */
export function attention(name: string, message: string, fix?: string): Finding {
  return { name, result: 'attention', message, ...(fix === undefined ? {} : { fix }) };
}

export function problem(name: string, message: string, fix: string): Finding {
  return { name, result: 'problem', message, fix };
}
