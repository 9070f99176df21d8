/** RFC 9112 §5 and RFC 9110 §5: field lines, and how many of them. */
import { H, accepted, got, head, refused, shown, type WireCase } from './case.ts';

const field = (line: string): string => head('GET /f HTTP/1.1', line);
const passes = (name: string, line: string, fields: Readonly<Record<string, string | undefined>>): WireCase =>
  accepted(name, field(line), [got('GET', '/f', '', { fields })]);

const DELIMITERS = '"(),/;<=>?@[\\]{}'.split('');
const TOKEN = "!#$%&'*+-^`|~0123456789abcXYZ";

export const FIELDS: readonly WireCase[] = [
  passes('a field', 'X-A: b', { 'x-a': 'b' }),
  passes('a field without a space', 'X-A:b', { 'x-a': 'b' }),
  passes('spaces and tabs around a value go', 'X-A: \t b c\t \t', { 'x-a': 'b c' }),
  passes('spaces and tabs within a value stay', 'X-A: b \t  c', { 'x-a': 'b \t  c' }),
  passes('an empty value', 'X-A:', { 'x-a': '' }),
  passes('a value of spaces', 'X-A:  \t ', { 'x-a': '' }),
  passes('a colon in a value', 'X-A: b:c: d', { 'x-a': 'b:c: d' }),
  passes('a value that begins with a colon', 'X-A::b', { 'x-a': ':b' }),
  passes('every byte of Latin-1 above ASCII', 'X-A: \x80\xa0\xe9\xff', { 'x-a': '\x80\xa0\xe9\xff' }),
  passes('every visible character of a value', 'X-A: !"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~', {
    'x-a': '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~',
  }),
  passes('every character of a name', `${TOKEN}: b`, { [TOKEN.toLowerCase()]: 'b' }),
  passes('a name of one character', 'a: b', { a: 'b' }),
  passes('a name of a prototype', '__proto__: b', { __proto__: undefined }),
  passes('a name of an object', 'constructor: b', { constructor: 'b' }),
  passes('a name with an underscore goes', 'X_A: b', { x_a: undefined, 'x-a': undefined }),
  passes('a name with a dot goes', 'X.A: b', { 'x.a': undefined, 'x-a': undefined }),
  passes('a length under another name is none', 'Content_Length: 5', { content_length: undefined }),
  passes('a coding under another name is none', 'Transfer_Encoding: chunked', { transfer_encoding: undefined }),
  passes('a coding under a dotted name is none', 'Transfer.Encoding: chunked', { 'transfer.encoding': undefined }),
  accepted('fields of one name stay apart', head('GET /f HTTP/1.1', 'Cookie: a=b', 'Cookie: c=d'), [got('GET', '/f')]),
  // §5: nothing between the name and the colon.
  refused('space before the colon', field('X-A : b'), 400),
  refused('tab before the colon', field('X-A\t: b'), 400),
  refused('vertical tab before the colon', field('X-A\x0b: b'), 400),
  refused('NUL before the colon', field('X-A\0: b'), 400),
  refused('CR before the colon', field('X-A\r: b'), 400),
  refused('space in a name', field('X A: b'), 400),
  refused('no name', field(': b'), 400),
  refused('a colon alone', field(':'), 400),
  refused('no colon', field('nonsense'), 400),
  refused('a word and a space', field('nonsense '), 400),
  refused('a request line among the fields', field('GET /smuggled HTTP/1.1'), 400),
  refused('a line with a tab only', field('\t'), 400),
  ...DELIMITERS.map((character) => refused(`name with ${character}`, field(`X${character}A: b`), 400)),
  ...['\0', '\x01', '\x0b', '\x1f', '\x7f', '\x80', '\xad', '\xff'].map((character) =>
    refused(`name with ${shown(character)}`, field(`X${character}A: b`), 400),
  ),
  refused('name in quotes', field('"X-A": b'), 400),
  // RFC 9110 §5.5: no control characters in a value.
  ...['\0', '\x01', '\x02', '\x07', '\x08', '\x0b', '\x0c', '\x0e', '\x1b', '\x1f', '\x7f'].map((character) =>
    refused(`value with ${shown(character)}`, field(`X-A: b${character}c`), 400),
  ),
  refused('value that ends with NUL', field('X-A: b\0'), 400),
  refused('value that begins with vertical tab', field('X-A: \x0bb'), 400),
  refused('bare CR in a value', field('X-A: b\rc'), 400),
  refused('bare CR and a field in a value', field(`X-A: b\rTransfer-Encoding: chunked`), 400),
  refused('bare CR at the end of a value', field('X-A: b\r'), 400),
  refused('bare LF in a value', field('X-A: b\nc'), 400),
  refused('bare LF and a field in a value', field('X-A: b\nTransfer-Encoding: chunked'), 400),
  refused('bare LF ends a field', `GET / HTTP/1.1\r\n${H}X-A: b\nX-B: c\r\n\r\n`, 400),
  refused('CR CR LF ends a field', `GET / HTTP/1.1\r\n${H}X-A: b\r\r\nX-B: c\r\n\r\n`, 400),
  refused('LF CR ends a field', `GET / HTTP/1.1\r\n${H}X-A: b\n\rX-B: c\r\n\r\n`, 400),
  refused('bare LF ends the head', `GET / HTTP/1.1\r\n${H}\n`, 400),
  refused('bare LF ends the last field and the head', `GET / HTTP/1.1\r\n${H}X-A: b\n\n`, 400),
  refused('bare LF after a field, CR LF after the head', `GET / HTTP/1.1\r\n${H}X-A: b\n\r\n`, 400),
  refused('CR CR LF ends the head', `GET / HTTP/1.1\r\n${H}\r\r\n`, 400),
  refused('bare CR ends the head', `GET / HTTP/1.1\r\n${H}\r`, 400),
  refused('CR and a character end the head', `GET / HTTP/1.1\r\n${H}\rX`, 400),
  // §5.2 and §2.2: folding.
  refused('folded with a space', field('X-A: b\r\n c'), 400),
  refused('folded with a tab', field('X-A: b\r\n\tc'), 400),
  refused('folded into nothing', field('X-A: b\r\n '), 400),
  refused('folded before its value', field('X-A:\r\n b'), 400),
  refused('folded coding', head('POST / HTTP/1.1', 'Transfer-Encoding:\r\n chunked'), 400),
  refused('folded behind a length', `${head('POST / HTTP/1.1', 'Content-Length: 3\r\n 5')}abc`, 400),
  refused('space before the first field', `GET / HTTP/1.1\r\n X-A: b\r\n${H}\r\n`, 400),
  refused('tab before the first field', `GET / HTTP/1.1\r\n\tX-A: b\r\n${H}\r\n`, 400),
  refused('a line of spaces before the first field', `GET / HTTP/1.1\r\n  \r\n${H}\r\n`, 400),
  refused('a hidden Host behind a space', `GET / HTTP/1.1\r\n ${H}${H}\r\n`, 400),
  // RFC 6585 §5.
  accepted('as many fields as may be', head('GET /f HTTP/1.1', ...Array.from({ length: 127 }, () => 'A: b')), [
    got('GET', '/f'),
  ]),
  refused('one field too many', head('GET / HTTP/1.1', ...Array.from({ length: 128 }, () => 'A: b')), 431),
  refused('many fields too many', head('GET / HTTP/1.1', ...Array.from({ length: 1_500 }, () => 'A: b')), 431),
  refused(
    'a length behind too many fields',
    `${head('POST / HTTP/1.1', ...Array.from({ length: 200 }, () => 'A: b'), 'Content-Length: 3')}abc`,
    431,
  ),
  accepted('a value of fifteen KiB', field(`X-A: ${'b'.repeat(15_000)}`), [got('GET', '/f')]),
  refused('a value too long', field(`X-A: ${'b'.repeat(20_000)}`), 431),
  refused('a value without end', `GET / HTTP/1.1\r\n${H}X-A: ${'b'.repeat(200_000)}`, 431, { bare: true }),
  refused('a name too long', field(`${'A'.repeat(20_000)}: b`), 431),
  refused('spaces without end before a value', field(`X-A:${' '.repeat(20_000)}b`), 431),
  refused(
    'many fields that are too large together',
    head('GET / HTTP/1.1', ...Array.from({ length: 100 }, () => `A: ${'b'.repeat(200)}`)),
    431,
  ),
];
