/**
 * Mutations of real messages, in the manner of coverage-guided fuzzers (AFL's havoc stage): bits, bytes, lengths and
 * pieces, and for JSON also names, values, depth and repetition. From a seed, so that a failure can be had again.
 */
export interface Random {
  /** Whole number in [0, below). */
  below: (below: number) => number;
}

/** xorshift32: small, seeded, good enough to choose mutations. */
export function seeded(seed: number): Random {
  let state = seed | 1;
  return {
    below: (below) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    },
  };
}

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x20, 0x22, 0x5c, 0x7b, 0x7d, 0x0a, 0x0d];

/** One to four mutations of `bytes`. */
export function mutateBytes(bytes: Uint8Array, random: Random): Buffer {
  let result: Buffer = Buffer.from(bytes);
  for (let n = 1 + random.below(4); n > 0; n--) result = mutateOnce(result, random);
  return result;
}

function mutateOnce(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  const length = 1 + random.below(Math.min(64, bytes.length + 1));
  switch (random.below(9)) {
    case 0:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = INTERESTING[random.below(INTERESTING.length)] ?? 0;
      return bytes;
    case 2:
      return bytes.subarray(0, at);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 4:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - length), at), bytes.subarray(at)]);
    case 5:
      return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(length, random.below(256)), bytes.subarray(at)]);
    case 6:
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.alloc(length * 512, INTERESTING[random.below(INTERESTING.length)]),
        bytes.subarray(at),
      ]);
    case 7: {
      if (at + 4 <= bytes.length) bytes.writeUInt32BE([0, 1, 0x7fffffff, 0xffffffff, 65_537][random.below(5)] ?? 0, at);
      return bytes;
    }
    default: {
      // a number in the text becomes another one
      const text = bytes.toString('latin1');
      const digits = [...text.matchAll(/\d+/g)];
      const match = digits[random.below(Math.max(1, digits.length))];
      if (match === undefined) return bytes;
      const other = ['-1', '1e308', '9007199254740993', '0.5', '00', '4294967296'][random.below(6)] ?? '0';
      return Buffer.from(text.slice(0, match.index) + other + text.slice(match.index + match[0].length), 'latin1');
    }
  }
}

const STRANGE: readonly unknown[] = [
  null,
  true,
  -1,
  1e300,
  2 ** 53,
  '',
  'constructor',
  '\u0000',
  '\ud800',
  'a'.repeat(70_000),
  [],
  {},
  [[[[[[[[]]]]]]]],
  { toString: 1, valueOf: 2, length: -1 },
];

/** A copy of a JSON value with one part of it replaced, doubled, renamed or taken away. */
export function mutateJson(value: unknown, random: Random): unknown {
  if (random.below(8) === 0 || value === null || typeof value !== 'object') {
    if (typeof value === 'string' && value.length > 0 && random.below(2) === 0) {
      const at = random.below(value.length);
      const swap = String.fromCharCode(33 + random.below(94));
      return value.slice(0, at) + swap + value.slice(at + 1);
    }
    return STRANGE[random.below(STRANGE.length)];
  }
  if (Array.isArray(value)) {
    const items = value as readonly unknown[];
    const at = random.below(items.length + 1);
    if (at === items.length) return random.below(2) === 0 ? [...items, ...items] : items.slice(1);
    return items.map((item, i) => (i === at ? mutateJson(item, random) : item));
  }
  const entries = Object.entries(value);
  const at = random.below(entries.length + 1);
  const [name, part] = entries[at] ?? [];
  if (name === undefined) return { ...value, more: 1, ['__proto__x']: {} };
  const rest = Object.fromEntries(entries.filter(([key]) => key !== name));
  switch (random.below(6)) {
    case 0:
      return rest;
    case 1:
      return { ...rest, [`${name}x`]: part };
    default:
      return { ...value, [name]: mutateJson(part, random) };
  }
}
