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
