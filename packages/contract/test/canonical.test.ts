import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalBytes, canonicalize, hashCanonical } from '@moat/contract';

test('writes numbers as RFC 8785 appendix B lists them', () => {
  const vectors: readonly (readonly [string, string])[] = [
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['0000000000000001', '5e-324'],
    ['8000000000000001', '-5e-324'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['ffefffffffffffff', '-1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['c340000000000000', '-9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['44b52d02c7e14af6', '1e+23'],
    ['44b52d02c7e14af7', '1.0000000000000001e+23'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['444b1ae4d6e2ef4f', '999999999999999900000'],
    ['444b1ae4d6e2ef50', '1e+21'],
    ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['41b3de4355555554', '333333333.33333325'],
    ['41b3de4355555555', '333333333.3333333'],
    ['41b3de4355555556', '333333333.3333334'],
    ['41b3de4355555557', '333333333.33333343'],
    ['becbf647612f3696', '-0.0000033333333333333333'],
    ['43143ff3c1cb0959', '1424953923781206.2'],
  ];
  for (const [bits, text] of vectors) {
    assert.equal(canonicalize(Buffer.from(bits, 'hex').readDoubleBE(0)), text, bits);
  }
  for (const bits of ['7fffffffffffffff', '7ff0000000000000', 'fff0000000000000']) {
    assert.throws(() => canonicalize(Buffer.from(bits, 'hex').readDoubleBE(0)), { code: 'NOT_CANONICAL' });
  }
});

test('writes the sample of RFC 8785 §3.2.2 as the bytes of §3.2.4', () => {
  const sample = String.raw`{
    "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
    "literals": [null, true, false]
  }`;
  const expected = `
    7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 65
    72 73 22 3a 5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 2e 35 2c 30 2e 30
    30 32 2c 31 65 2d 32 37 5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 27 42 5c
    22 5c 5c 5c 5c 5c 22 2f 22 7d`;
  assert.equal(Buffer.from(canonicalBytes(JSON.parse(sample))).toString('hex'), expected.replace(/\s/g, ''));
});

test('sorts by UTF-16 code units as RFC 8785 §3.2.3 shows', () => {
  const sample = String.raw`{ "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
    "\u00f6": "Latin Small Letter O With Diaeresis" }`;
  assert.deepEqual(
    [...canonicalize(JSON.parse(sample)).matchAll(/":"([^"]+)"/g)].map(([, name]) => name),
    [
      'Carriage Return',
      'One',
      'Control',
      'Latin Small Letter O With Diaeresis',
      'Euro Sign',
      'Emoji: Grinning Face',
      'Hebrew Letter Dalet With Dagesh',
    ],
  );
});

test('writes the published samples of the JCS test data', () => {
  const samples: readonly (readonly [string, string])[] = [
    ['[56, {"d": true, "10": null, "1": []}]', '[56,{"1":[],"10":null,"d":true}]'],
    [
      '{"peach": "A", "p\u00e9ch\u00e9": "B", "p\u00eache": "C", "sin": "D"}',
      '{"peach":"A","p\u00e9ch\u00e9":"B","p\u00eache":"C","sin":"D"}',
    ],
    ['{"Unnormalized Unicode": "A\\u030a"}', '{"Unnormalized Unicode":"A\u030a"}'],
    [
      String.raw`{"\u20ac": "E", "\r": "C", "\u000a": "N", "1": "O", "\u0080": "X\u007f", "\ud83d\ude02": "S", "\u00f6": "L", "\ufb33": "H", "</script>": "B"}`,
      '{"\\n":"N","\\r":"C","1":"O","</script>":"B","\u0080":"X\u007f","\u00f6":"L","\u20ac":"E","\ud83d\ude02":"S","\ufb33":"H"}',
    ],
  ];
  for (const [input, output] of samples) assert.equal(canonicalize(JSON.parse(input)), output);
});

test('refuses what JSON cannot say instead of dropping it', () => {
  const endless: { self?: unknown } = {};
  endless.self = endless;
  const values: readonly unknown[] = [
    undefined,
    NaN,
    { a: undefined },
    [undefined],
    Array.from({ length: 2 }),
    1n,
    Symbol('s'),
    () => 0,
    '\ud800',
    { '\udc00': 1 },
    new Date(0),
    new Map(),
    Uint8Array.of(1),
    endless,
  ];
  for (const value of values) assert.throws(() => canonicalize(value), { code: 'NOT_CANONICAL' });
});

test('keeps a member named __proto__', () => {
  assert.equal(canonicalize(JSON.parse('{"b":1,"__proto__":{"a":2}}')), '{"__proto__":{"a":2},"b":1}');
});

test('survives a round trip: one value, one text', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
      let text: string;
      try {
        text = canonicalize(value);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'NOT_CANONICAL');
        return;
      }
      assert.equal(canonicalize(JSON.parse(text)), text);
      // JSON turns -0 into 0, as the canonical form does.
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
    }),
  );
});

test('does not depend on the order in which members were set', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.integer()), (object) => {
      const reversed = Object.fromEntries(Object.entries(object).reverse());
      assert.equal(canonicalize(reversed), canonicalize(object));
    }),
  );
});

test('ends in text or NOT_CANONICAL, whatever it is given', () => {
  fc.assert(
    fc.property(fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true }), (value) => {
      try {
        JSON.parse(canonicalize(value));
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'NOT_CANONICAL');
      }
    }),
  );
});

test('hashes the UTF-8 bytes of the text', () => {
  assert.equal(hashCanonical({ b: '€', a: 1 }), createHash('sha256').update('{"a":1,"b":"€"}').digest('base64url'));
});
