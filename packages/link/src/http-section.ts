/**
 * Sections of fields in binary: lengths first, then all texts.
 *
 *   section   count u16 | count × ( name u16 | value u16 ) | all names | all values
 *
 * Every byte is checked in both directions, so nothing that could end a line or a field ever reaches a connector. Sections
 * repeat, so those lately seen are not checked, cut or made again: a list that was written lately is known by its identity,
 * bytes that were read lately by themselves. One string is written, or made and cut, for a whole section (measured: 0.7 µs to
 * write one of 430 bytes; 1.5 text by text).
 */
import { MoatError, Recent, RecentOf } from '@moat/core';
import type { FieldList } from '@moat/core';

import type { LinkErrorCode } from './errors.ts';
import { MAX_HEAD_BYTES, MAX_OPEN_PREFIX_BYTES } from './frame.ts';
import { FIELD_VALUE, LOWER_TOKEN, isAllOf, isForbidden } from './http-text.ts';

/** Fields of one head. */
export const MAX_FIELDS = 1024;
const LENGTHS_BYTES = 4;
/** Longer ones are not kept. */
const MAX_KEPT_BYTES = 4096;
const NO_LATIN1 = /[^\0-\xff]/;

/** One for the process: heads are encoded and copied within one turn. Three bytes a character is what UTF-8 may take. */
export const scratch: Buffer = Buffer.allocUnsafeSlow(MAX_OPEN_PREFIX_BYTES + 3 * MAX_HEAD_BYTES);

/** A checked section. */
export interface Section {
  readonly fields: FieldList;
  /** What content-length says, if it is there. */
  readonly length: number | undefined;
  /** Of it in binary. */
  readonly byteLength: number;
  /** Once it was written a second time. */
  bytes: Buffer | undefined;
}

/** What a section belongs to. */
type Of = 'request' | 'response' | 'trailers';

/** Sections of one kind. Bound: 64 in each direction are kept, 4 KiB each at most. */
export class Sections {
  readonly #of: Of;
  readonly #written = new RecentOf<FieldList, Section>();
  readonly #read = new Recent<Section>();

  constructor(of: Of) {
    this.#of = of;
  }

  /**
   * Writes `fields` to {@link scratch} from `at`, which must not go beyond `end`.
   * @throws `HEAD_INVALID`, `HEAD_TOO_LARGE`
   */
  write(fields: FieldList, at: number, end: number): Section {
    const known = this.#written.get(fields);
    if (known?.bytes !== undefined) {
      if (at + known.byteLength > end) throw tooLarge();
      scratch.set(known.bytes, at);
      return known;
    }
    const section = writeSection(fields, at, end, this.#of);
    if (known !== undefined) known.bytes = Buffer.from(scratch.subarray(at, at + section.byteLength));
    else if (section.byteLength <= MAX_KEPT_BYTES) this.#written.keep(fields, section);
    return section;
  }

  /** What `bytes` holds from `at` on to its end. @throws `HEAD_INVALID` */
  read(bytes: Buffer, at: number): Section {
    const text = bytes.toString('latin1', at);
    const known = this.#read.get(text);
    if (known !== undefined) return known;
    const section = cutSection(bytes, at, text, at, this.#of);
    this.#read.keep(text, section);
    return section;
  }
}

/**
 * Writes a section that is not kept.
 * @throws `HEAD_INVALID`, `HEAD_TOO_LARGE`
 */
export function writeSection(fields: FieldList, from: number, end: number, of: Of): Section {
  if (fields.length > MAX_FIELDS) throw tooLarge();
  let at = writeU16(from, fields.length);
  let names = '';
  let values = '';
  // Indexed, here and below: taking a pair apart by pattern runs an iterator, for each field three times.
  for (const field of fields) {
    const name = field[0];
    const value = field[1];
    if (name.length >= MAX_HEAD_BYTES || value.length >= MAX_HEAD_BYTES) throw tooLarge();
    at = writeU16(writeU16(at, name.length), value.length);
    names += name;
    values += value;
  }
  const text = names + values;
  if (at + text.length > end) throw tooLarge();
  // As many bytes as characters: it is all ASCII, and right. The rest is rare.
  if (scratch.write(text, at) !== text.length) {
    if (NO_LATIN1.test(text)) throw invalid('a character that is no byte');
    scratch.write(text, at, 'latin1');
  }
  const length = checkFields(scratch, at, fields, of);
  return { fields, length, byteLength: at + text.length - from, bytes: undefined };
}

/**
 * Cuts the section that begins at `at`. `text` is what stands in `bytes` from `textAt` on; both end together.
 * @throws `HEAD_INVALID`
 */
export function cutSection(bytes: Buffer, at: number, text: string, textAt: number, of: Of): Section {
  const end = textAt + text.length;
  const count = at + 2 <= end ? u16(bytes, at) : MAX_FIELDS + 1;
  const lengthsAt = at + 2;
  const textsAt = lengthsAt + count * LENGTHS_BYTES;
  // Each field takes its lengths at least, which bounds what a lie about the count can cost.
  if (count > MAX_FIELDS || textsAt > end) throw invalid('too many fields');
  let nameAt = textsAt - textAt;
  let valueAt = nameAt;
  for (let i = lengthsAt; i < textsAt; i += LENGTHS_BYTES) valueAt += u16(bytes, i);
  const fields: (readonly [string, string])[] = [];
  for (let i = lengthsAt; i < textsAt; i += LENGTHS_BYTES) {
    const nameEnd = nameAt + u16(bytes, i);
    const valueEnd = valueAt + u16(bytes, i + 2);
    fields.push([text.substring(nameAt, nameEnd), text.substring(valueAt, valueEnd)]);
    nameAt = nameEnd;
    valueAt = valueEnd;
  }
  if (valueAt !== text.length) throw invalid('its lengths are not those of its texts');
  return { fields, length: checkFields(bytes, textsAt, fields, of), byteLength: end - at, bytes: undefined };
}

/** Checks fields whose texts stand in `bytes` from `from` on; returns the content-length, if there is one. */
function checkFields(bytes: Buffer, from: number, fields: FieldList, of: Of): number | undefined {
  let length: number | undefined;
  let valuesAt = from;
  let end = from;
  for (const field of fields) {
    const name = field[0];
    const value = field[1];
    if (name.length === 0) throw invalid('a field without a name');
    if (isForbidden(name, of !== 'response')) throw invalid(`${name} belongs to a connection, not to a head`);
    valuesAt += name.length;
    end += name.length + value.length;
    if (name.length !== 14 || name !== 'content-length') continue;
    if (of === 'trailers' || length !== undefined || !/^[0-9]{1,15}$/.test(value)) {
      throw invalid('content-length is one number, and no trailer');
    }
    length = Number(value);
  }
  if (!isAllOf(LOWER_TOKEN, bytes, from, valuesAt)) throw invalid('a field name holds a forbidden character');
  if (!isAllOf(FIELD_VALUE, bytes, valuesAt, end)) throw invalid('a field value holds a forbidden character');
  return length;
}

/** Writes to {@link scratch}; returns where it ends. */
export function writeU16(at: number, value: number): number {
  scratch[at] = value >>> 8;
  scratch[at + 1] = value;
  return at + 2;
}

/** Both bytes are inside. */
function u16(bytes: Buffer, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

/** A head that breaks a rule. */
export function invalid(reason: string): MoatError<LinkErrorCode> {
  return new MoatError('HEAD_INVALID', `the head breaks a rule: ${reason}`);
}

/** A head beyond its bounds. */
export function tooLarge(): MoatError<LinkErrorCode> {
  return new MoatError('HEAD_TOO_LARGE', `a head has at most ${MAX_HEAD_BYTES} bytes and ${MAX_FIELDS} fields`);
}
