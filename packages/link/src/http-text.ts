/** Which bytes may stand where in a head, as tables: one look-up a byte, no regular expression on the path of a request. */

/** 1 for each byte allowed; a character above 255 finds nothing and is refused too. */
export type Alphabet = Readonly<Uint8Array>;

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';
const DIGITS = '0123456789';
/** RFC 9110 §5.6.2. */
const TOKEN_MARKS = "!#$%&'*+-.^_`|~";

/** Methods: any token. */
export const TOKEN: Alphabet = alphabet(LETTERS + LETTERS.toUpperCase() + DIGITS + TOKEN_MARKS);
/** Field names, lower case. */
export const LOWER_TOKEN: Alphabet = alphabet(LETTERS + DIGITS + TOKEN_MARKS);
/** What Upgrade names (RFC 9110 §7.8), lower case: a token, perhaps with a version. */
export const PROTOCOL: Alphabet = alphabet(`${LETTERS}${DIGITS}${TOKEN_MARKS}/`);
/** A host in lower case, an IPv6 literal in brackets, a port. */
export const HOST: Alphabet = alphabet(`${LETTERS}${DIGITS}-._:[]`);
/** Visible bytes without space, `#` and what no client sends bare; bytes above 0x7f pass, as browsers send them. */
export const TARGET: Alphabet = alphabet(range(0x21, 0x7e), range(0x80, 0xff)).map((allowed, byte) =>
  byte === 0x23 ? 0 : allowed,
);
/** RFC 9110 §5.5: visible, space, tab and bytes above 0x7f; never CR, LF, NUL or another control. */
export const FIELD_VALUE: Alphabet = alphabet('\t', range(0x20, 0x7e), range(0x80, 0xff));

/** Fields about one connection (RFC 9110 §7.6.1) or said by the head itself; a connector writes its own. */
const FORBIDDEN: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding']);

/** True for fields that a head never carries. A response may name `upgrade` (426), a request says it in its head. */
export function isForbidden(name: string, request: boolean): boolean {
  return FORBIDDEN.has(name) || (request && (name === 'host' || name === 'upgrade'));
}

function alphabet(...parts: readonly string[]): Uint8Array {
  const table = new Uint8Array(256);
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) table[part.charCodeAt(i)] = 1;
  }
  return table;
}

function range(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, i) => String.fromCharCode(from + i)).join('');
}
