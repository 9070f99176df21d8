/**
 * Streams of requests that are nearly right, made from a tape of numbers: each decision takes the next one, and 0 is
 * always the plain choice, so that a shorter tape with smaller numbers is a simpler stream.
 */
import { HOST } from '../../edge-under-test.ts';
import {
  BODIES,
  BYTES,
  CODINGS,
  CONNECTIONS,
  EXPECTS,
  EXTENSIONS,
  HOSTS,
  LENGTHS,
  LINE_ENDS,
  METHODS,
  NAMES,
  SIZES,
  STRANGE_METHODS,
  STRANGE_NAMES,
  STRANGE_TARGETS,
  STRANGE_VALUES,
  TARGETS,
  TRAILERS,
  UPGRADES,
  VALUES,
  VERSIONS,
} from './vocabulary.ts';

export class Tape {
  readonly #numbers: readonly number[];
  #at = 0;
  /** How many times rarer the strange is in this stream. */
  calm = 1;

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  /** A number below `bound`. */
  below(bound: number): number {
    const number = this.#numbers[this.#at] ?? 0;
    this.#at += 1;
    return number % bound;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** The plain one, or once in `rarity` one of the strange. */
  mostly<T>(plain: T, strange: readonly T[], rarity: number = 24): T {
    const bound = rarity * this.calm;
    return this.below(bound) === bound - 1 ? this.pick(strange) : plain;
  }
}

/** One to four requests, Latin-1. */
export function streamOf(tape: Tape, corpus: readonly string[]): string {
  let text = '';
  tape.calm = tape.pick([1, 4, 16, 64]);
  if (corpus.length > 0 && tape.below(5) === 4) {
    text = tape.pick(corpus);
    if (tape.below(2) === 1) text += requestOf(tape);
  } else {
    const requests = 1 + tape.below(4);
    for (let i = 0; i < requests; i += 1)
      text += tape.mostly('', ['\r\n', '\n', '\r', '\r\n\r\n', ' ', '\0', '0\r\n\r\n', 'x'], 40) + requestOf(tape);
  }
  // Half of all streams stay as the grammar made them.
  for (let mutations = Math.max(0, tape.below(6) - 2); mutations > 0; mutations -= 1) text = mutated(text, tape);
  return text;
}

/** Where to cut `length` bytes into pieces. */
export function cutsOf(tape: Tape, length: number): number[] {
  const cuts = Array.from({ length: tape.below(6) }, () => tape.below(length + 1));
  return [...new Set(cuts)].sort((a, b) => a - b);
}

function requestOf(tape: Tape): string {
  const method = tape.mostly(tape.pick(METHODS), STRANGE_METHODS);
  const target = tape.mostly(
    method === 'OPTIONS' ? tape.pick(TARGETS) : tape.pick(TARGETS.slice(0, 6)),
    STRANGE_TARGETS,
  );
  const version = tape.mostly('HTTP/1.1', VERSIONS, 16);
  const fields = [`Host: ${tape.mostly(HOST, HOSTS, 30)}`];
  let body = tape.pick(BODIES);
  switch (tape.mostly(tape.pick(['none', 'length', 'chunked']), ['strange'], 6)) {
    case 'none':
      body = tape.mostly('', BODIES, 10);
      break;
    case 'length':
      fields.push(`Content-Length:${tape.mostly(' ', ['', '\t', ' \t ', '\v'])}${lengthOf(tape, body.length)}`);
      break;
    case 'chunked':
      fields.push(
        `Transfer-Encoding:${tape.mostly(' ', ['', '\t', ' \t ', '\v'])}${tape.mostly('chunked', CODINGS, 8)}`,
      );
      body = chunksOf(tape, body);
      break;
    case 'strange':
      for (let i = 1 + tape.below(2); i >= 0; i -= 1) {
        if (tape.below(2) === 0) fields.push(`Content-Length: ${lengthOf(tape, body.length)}`);
        else fields.push(`Transfer-Encoding: ${tape.mostly('chunked', CODINGS, 3)}`);
      }
      if (tape.below(2) === 1) body = chunksOf(tape, body);
      break;
  }
  for (let more = tape.below(4); more > 0; more -= 1) fields.splice(tape.below(fields.length + 1), 0, fieldOf(tape));
  const end = (): string => tape.mostly('\r\n', LINE_ENDS, 60);
  const lines = fields.map((field) => field + end()).join('');
  return `${method}${tape.mostly(' ', ['  ', '\t', '', '\v'], 60)}${target} ${version}${end()}${lines}${end()}${body}`;
}

function fieldOf(tape: Tape): string {
  switch (tape.below(8)) {
    case 5:
      return `Connection: ${tape.pick(CONNECTIONS)}`;
    case 6:
      return `Upgrade: ${tape.pick(UPGRADES)}`;
    case 7:
      return tape.below(2) === 0
        ? `Expect: ${tape.pick(EXPECTS)}`
        : tape.pick([`Host: ${HOST}`, 'Content-Length: 0', 'nonsense', ' folded', '']);
    default:
      return `${tape.mostly(tape.pick(NAMES), STRANGE_NAMES)}:${tape.mostly(' ', ['', '\t', '  '])}${tape.mostly(tape.pick(VALUES), STRANGE_VALUES)}`;
  }
}

function lengthOf(tape: Tape, length: number): string {
  const right = tape.mostly(
    String(length),
    [String(length + 1), String(Math.max(0, length - 1)), '5', '18446744073709551616', '9007199254740993'],
    12,
  );
  const mark = tape.mostly('', LENGTHS, 8);
  return tape.below(2) === 0 ? mark + right : right + mark;
}

function chunksOf(tape: Tape, body: string): string {
  let text = '';
  for (let at = 0; at < body.length;) {
    const size = Math.min(body.length - at, 1 + tape.below(20));
    const hex = size.toString(16);
    const marked = tape.mostly(
      hex,
      [
        hex.toUpperCase(),
        ...SIZES.map((mark) => mark + hex),
        ...SIZES.map((mark) => hex + mark),
        (size + 1).toString(16),
        (size - 1).toString(16),
        '',
      ],
      30,
    );
    text += marked + tape.mostly('', EXTENSIONS, 20) + tape.mostly('\r\n', LINE_ENDS, 60);
    text += body.slice(at, at + size) + tape.mostly('\r\n', LINE_ENDS, 40);
    at += size;
  }
  text +=
    tape.mostly('0', ['00', '0000000000000000', '-0', '+0', '0x0', '', ' 0', '0 '], 40) +
    tape.mostly('', EXTENSIONS, 30);
  text += tape.mostly('\r\n', LINE_ENDS, 40);
  for (let trailers = Math.max(0, tape.below(10) - 8); trailers > 0; trailers -= 1)
    text += `${tape.pick(TRAILERS)}\r\n`;
  return text + tape.mostly('\r\n', LINE_ENDS, 40);
}

function mutated(text: string, tape: Tape): string {
  const at = tape.below(text.length + 1);
  const to = Math.min(text.length, at + 1 + tape.below(4));
  switch (tape.below(5)) {
    case 0:
      return text.slice(0, at) + tape.pick(BYTES) + text.slice(at);
    case 1:
      return text.slice(0, at) + text.slice(to);
    case 2:
      return text.slice(0, at) + tape.pick(BYTES) + text.slice(to);
    case 3:
      return text.slice(0, to) + text.slice(at);
    default:
      // A line moved elsewhere.
      return moved(text, tape);
  }
}

function moved(text: string, tape: Tape): string {
  const lines = text.split('\r\n');
  const [line = ''] = lines.splice(tape.below(lines.length), 1);
  lines.splice(tape.below(lines.length + 1), 0, line);
  return lines.join('\r\n');
}
