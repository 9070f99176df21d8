import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { decodeJson } from '../src/messages.ts';

test('an object in the place of a text or a list, with a length that is an object, is refused by its code', () => {
  const schema = z.strictObject({ field: z.union([z.string().min(1).max(9), z.array(z.string()).max(9)]) });
  const bytes = (field: unknown): Uint8Array => Buffer.from(JSON.stringify({ field }));
  for (const strange of [
    schema,
    z.strictObject({ field: z.string().max(9) }),
    z.strictObject({ field: z.string().length(9) }),
  ]) {
    assert.throws(() => decodeJson(bytes({ length: { toString: 1, valueOf: 2 } }), strange), {
      code: 'MESSAGE_INVALID',
    });
  }
  assert.deepEqual(decodeJson(bytes('whole'), schema), { field: 'whole' });
});

test('a long body that nests deeper than any message is refused before it is parsed', (t) => {
  const parse = t.mock.method(JSON, 'parse');
  const padding = ' '.repeat(64 * 1024);
  const nested = (depth: number): Uint8Array => Buffer.from(padding + '['.repeat(depth) + ']'.repeat(depth));
  for (const bomb of [
    nested(65),
    Buffer.from('['.repeat(3 * 1024 * 1024)),
    Buffer.from(`${'{"a":'.repeat(65)}${padding}`),
  ]) {
    assert.throws(() => decodeJson(bomb, z.unknown()), { code: 'MESSAGE_INVALID', message: /nests/ });
  }
  assert.equal(parse.mock.callCount(), 0);
  assert.ok(Array.isArray(decodeJson(nested(64), z.unknown())));
});

test('brackets in a text do not nest, whatever is escaped in it', () => {
  const many = '[{'.repeat(40_000);
  for (const value of [many, `"${many}`, `\\"${many}`, `${many}\\`, `\\\\"${many}\\"`, [[many], { [many]: many }]]) {
    assert.deepEqual(decodeJson(Buffer.from(JSON.stringify(value)), z.unknown()), value);
  }
  // what is opened and closed again side by side is as deep as one of them
  const wide = Array.from({ length: 30_000 }, () => [[]]);
  assert.deepEqual(decodeJson(Buffer.from(JSON.stringify(wide)), z.unknown()), wide);
  // a text ends at its quote: what follows counts
  const hidden = Buffer.from(`["${many}\\\\",${'['.repeat(64)}`);
  assert.throws(() => decodeJson(hidden, z.unknown()), { code: 'MESSAGE_INVALID', message: /nests/ });
});
