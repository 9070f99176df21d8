import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainAnswer, plainText } from '../src/remote-text.ts';

test('text of others moves no cursor, hides nothing and turns nothing around', () => {
  const hostile = 'ok\u001B[2K\u001B]0;title\u0007\r\n\u009B31m\u202Emoc.elpmaxe\u2028';
  // oxlint-disable-next-line no-control-regex
  assert.doesNotMatch(plainText(hostile), /[\u0000-\u001F\u007F-\u009F\u202A-\u202E\u2028\u2029]/);
  assert.equal(plainText('größe: 3 · シヨツプ.example'), 'größe: 3 · シヨツプ.example');
});

test("every field of a gateway's answer is plain, and a code is a code", () => {
  const [text, bad] = ['a\u001Bb', 'a\u{fffd}b'];
  assert.deepEqual(
    plainAnswer({
      ok: true,
      names: [{ name: text, host: text, url: text }],
      refused: [
        { name: text, code: text, message: text },
        { name: 'b', code: 'NAME_TAKEN', message: 'taken' },
      ],
    }),
    {
      ok: true,
      names: [{ name: bad, host: bad, url: bad }],
      refused: [
        { name: bad, code: 'PUBLISH_FAILED', message: bad },
        { name: 'b', code: 'NAME_TAKEN', message: 'taken' },
      ],
    },
  );
  assert.deepEqual(plainAnswer({ ok: false, code: 'X', message: text }), {
    ok: false,
    code: 'PUBLISH_FAILED',
    message: bad,
  });
});
