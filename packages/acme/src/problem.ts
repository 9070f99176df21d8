/** What an authority says is wrong: RFC 9457 documents with the types of RFC 8555 §6.7. */

export interface Problem {
  readonly type: string;
  /** Its own words, short and on one line. */
  readonly detail: string;
}

/** The kinds that are told apart. */
export const PROBLEM = {
  badNonce: 'urn:ietf:params:acme:error:badNonce',
  caa: 'urn:ietf:params:acme:error:caa',
  noAccount: 'urn:ietf:params:acme:error:accountDoesNotExist',
  rateLimited: 'urn:ietf:params:acme:error:rateLimited',
} as const;

const MAX_CHARS = 300;

/** The problem in a body or in the `error` field of an order or a challenge; undefined where there is none. */
export function problemOf(value: unknown): Problem | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { type, detail, subproblems } = value as { type?: unknown; detail?: unknown; subproblems?: unknown };
  if (typeof type !== 'string' && typeof detail !== 'string') return undefined;
  const inner = Array.isArray(subproblems)
    ? subproblems.map(problemOf).find((problem) => problem !== undefined)
    : undefined;
  const words = typeof detail === 'string' ? detail : '';
  return {
    type: oneLine(typeof type === 'string' ? type : 'about:blank'),
    detail: oneLine(inner ? `${words} (${inner.detail})` : words) || 'it gave no reason',
  };
}

/** The words come from another machine and go to a terminal. */
function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]+/g, ' ').trim();
  return clean.length > MAX_CHARS ? `${clean.slice(0, MAX_CHARS)}…` : clean;
}
