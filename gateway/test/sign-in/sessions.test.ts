import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { errorCode } from '@moat/core';
import { Questions } from '../../src/sign-in/questions.ts';
import { withoutOwnCookies } from '../../src/sign-in/own-fields.ts';
import { Sessions } from '../../src/sign-in/sessions.ts';

const secret = Buffer.from('a secret of the gateway');
const scope = { host: 'shop.apps.example.com', ways: 'w1' };

describe('a session', () => {
  let now = 1_000_000;
  const sessions = new Sessions({ now: () => now }, { secret, lastsMs: 60_000 });
  const cookie = sessions.begin('ana@shop.example', scope).split(';')[0] as string;

  it('is found under its host, by every process with the same secret', () => {
    const other = new Sessions({ now: () => now }, { secret, lastsMs: 60_000 });
    assert.deepEqual(other.find(`a=b; ${cookie}`, scope), { user: 'ana@shop.example' });
  });

  it('is good nowhere else, for no other list of people, and with no other secret', () => {
    assert.equal(sessions.find(cookie, { ...scope, host: 'evil.apps.example.com' }), undefined);
    assert.equal(sessions.find(cookie, { ...scope, ways: 'w2' }), undefined);
    const other = new Sessions({ now: () => now }, { secret: Buffer.from('x'), lastsMs: 60_000 });
    assert.equal(other.find(cookie, scope), undefined);
  });

  it('cannot be made longer or another one', () => {
    const [name = '', ends = '', user = '', mac = ''] = cookie.split(/[=.]/);
    for (const changed of [
      `${name}=${ends}z.${user}.${mac}`,
      `${name}=${ends}.${Buffer.from('root').toString('base64url')}.${mac}`,
      `${name}=${ends}.${user}.`,
      `${name}=${ends}.${user}.${mac}.x`,
    ]) {
      assert.equal(sessions.find(changed, scope), undefined, changed);
    }
  });

  it('takes any text for a cookie', () => {
    fc.assert(fc.property(fc.string(), (text) => sessions.find(`__Host-moat-session=${text}`, scope) === undefined));
  });

  it('is over when it is over', () => {
    now += 60_000;
    assert.equal(sessions.find(cookie, scope), undefined);
    now -= 60_000;
  });

  it('is not for the service', () => {
    assert.equal(withoutOwnCookies(`a=b; ${cookie}; c=d`), 'a=b; c=d');
    assert.equal(withoutOwnCookies(cookie), undefined);
    assert.equal(withoutOwnCookies('a=b'), 'a=b');
  });
});

describe('a question', () => {
  let now = 1_000_000;
  const questions = new Questions({ now: () => now }, secret);
  const codeOf = (nonce: string, host = scope.host): string | undefined => {
    try {
      questions.answer(nonce, host);
      return undefined;
    } catch (error) {
      return errorCode(error);
    }
  };

  it('is answered once, under the name that asked', () => {
    const nonce = questions.ask(scope.host);
    assert.equal(codeOf(nonce, 'evil.apps.example.com'), 'SIGN_IN_EXPIRED');
    assert.equal(codeOf(nonce), undefined);
    assert.equal(codeOf(nonce), 'SIGN_IN_EXPIRED');
    assert.equal(codeOf(`${nonce}=`), 'SIGN_IN_EXPIRED', 'nor in another spelling');
  });

  it('is over after two minutes', () => {
    const nonce = questions.ask(scope.host);
    now += 120_000;
    assert.equal(codeOf(nonce), 'SIGN_IN_EXPIRED');
  });

  it('was asked here or is none', () => {
    fc.assert(fc.property(fc.string(), (text) => codeOf(text) === 'SIGN_IN_EXPIRED'));
    assert.equal(codeOf(new Questions({ now: () => now }, Buffer.from('x')).ask(scope.host)), 'SIGN_IN_EXPIRED');
  });

  it('has room for so many answers and then for none, until the oldest are over', () => {
    now += 1_000_000;
    for (let index = 0; index < 10_000; index++) assert.equal(codeOf(questions.ask(scope.host)), undefined);
    assert.equal(codeOf(questions.ask(scope.host)), 'GATEWAY_BUSY');
    now += 120_000;
    assert.equal(codeOf(questions.ask(scope.host)), undefined);
  });
});
