/** Which bytes may stand where in a head, in one table: one look-up a byte, no regular expression on the path of a request. */

/** A bit of the table; several sets share it. */
export type Alphabet = number;

/** Methods: any token. */
export const TOKEN: Alphabet = 1;
/** Field names, lower case. */
export const LOWER_TOKEN: Alphabet = 2;
/** What Upgrade names (RFC 9110 §7.8), lower case: a token, perhaps with a version. */
export const PROTOCOL: Alphabet = 4;
/** A host in lower case, an IPv6 literal in brackets, a port. */
export const HOST: Alphabet = 8;
/** Visible bytes without space, `#` and what no client sends bare; bytes above 0x7f pass, as browsers send them. */
export const TARGET: Alphabet = 16;
/** RFC 9110 §5.5: visible, space, tab and bytes above 0x7f; never CR, LF, NUL or another control. */
export const FIELD_VALUE: Alphabet = 32;

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';
const DIGITS = '0123456789';
/** RFC 9110 §5.6.2. */
const TOKEN_MARKS = "!#$%&'*+-.^_`|~";
const VISIBLE_AND_HIGH = range(0x21, 0x7e) + range(0x80, 0xff);

/** For each byte the alphabets it is in. */
const ALPHABETS = tableOf([
  [TOKEN, LETTERS + LETTERS.toUpperCase() + DIGITS + TOKEN_MARKS],
  [LOWER_TOKEN, LETTERS + DIGITS + TOKEN_MARKS],
  [PROTOCOL, `${LETTERS}${DIGITS}${TOKEN_MARKS}/`],
  [HOST, `${LETTERS}${DIGITS}-._:[]`],
  [TARGET, VISIBLE_AND_HIGH.replace('#', '')],
  [FIELD_VALUE, `\t ${VISIBLE_AND_HIGH}`],
]);

/** True when every byte of `bytes` from `from` to before `to`, which is inside of it, is in `alphabet`. */
export function isAllOf(alphabet: Alphabet, bytes: Uint8Array, from: number, to: number): boolean {
  let common = alphabet;
  // Without a way out in the middle this takes a third less time.
  for (let at = from; at < to; at++) common &= ALPHABETS[bytes[at] as number] as number;
  return common !== 0;
}

/** Writes `text` to `bytes` from `at` on; false when it is empty or holds a character that is not in `alphabet`. */
export function writeAllOf(alphabet: Alphabet, text: string, bytes: Uint8Array, at: number): boolean {
  let common = text.length === 0 ? 0 : alphabet;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    common &= ALPHABETS[code] ?? 0;
    bytes[at + i] = code;
  }
  return common !== 0;
}

/**
 * True for fields that a head never carries: they are about one connection (RFC 9110 §7.6.1) or said by the head itself, and
 * a connector writes its own. A response may name `upgrade` (426), a request says it in its head.
 */
export function isForbidden(name: string, request: boolean): boolean {
  switch (name.length) {
    case 4:
      return request && name === 'host';
    case 7:
      return request && name === 'upgrade';
    case 10:
      return name === 'connection' || name === 'keep-alive';
    case 16:
      return name === 'proxy-connection';
    case 17:
      return name === 'transfer-encoding';
    default:
      return false;
  }
}

function tableOf(alphabets: readonly (readonly [bit: Alphabet, text: string])[]): Uint8Array {
  const table = new Uint8Array(256);
  for (const [bit, text] of alphabets) {
    for (let i = 0; i < text.length; i++) table[text.charCodeAt(i)]! |= bit;
  }
  return table;
}

function range(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, i) => String.fromCharCode(from + i)).join('');
}
