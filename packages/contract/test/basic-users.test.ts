import assert from 'node:assert/strict';
import { scryptSync } from 'node:crypto';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import fc from 'fast-check';
import { formatBasicUser, parseBasicUsers } from '@moat/contract';

const LINE = 'ana:$scrypt$ln=14,r=8,p=1$TmFDbA$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI';

test('a line of RFC 7914’s second vector, comments, and back again', () => {
  // N = 1024 of the vector is below our floor, so the same salt at a cost that counts.
  const salt = Buffer.from('SodiumChloride');
  const hash = scryptSync('pleaseletmein', salt, 32, { N: 16384, r: 8, p: 1 });
  const line = formatBasicUser('ana', { log2N: 14, r: 8, p: 1, salt, hash });
  assert.match(hash.toString('hex'), /^7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2/);
  const users = parseBasicUsers(`# who may come in\n\n${line}\r\n`);
  assert.deepEqual([...users], [['ana', { log2N: 14, r: 8, p: 1, salt, hash }]]);
});

test('what is no such line is refused by its number, without its text', () => {
  const good = LINE.replace('TmFDbA', 'U29kaXVtQ2hsb3JpZGU');
  assert.equal(parseBasicUsers(good).size, 1);
  const cases = [
    '',
    'ana:secret',
    'ana:$2y$10$abcdefghijklmnopqrstuv',
    good.replace('ln=14', 'ln=11'),
    good.replace('ln=14', 'ln=20'),
    good.replace('p=1', 'p=9'),
    good.replace('r=8', 'r=0'),
    `${good}\n${good}`,
    good.replace('ana', 'a\u0007na'),
    `:${good}`,
  ];
  for (const text of cases) {
    assert.throws(
      () => parseBasicUsers(text),
      (error) =>
        isMoatError(error, 'USERS_INVALID') && !error.message.includes('secret') && !/qbVD9/.test(error.message),
      text,
    );
  }
});

test('any text ends in users or in the code', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      try {
        parseBasicUsers(text);
      } catch (error) {
        return isMoatError(error, 'USERS_INVALID');
      }
      return true;
    }),
  );
});
