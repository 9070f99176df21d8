import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { errorCode } from '@moat/core';
import { Answered } from '../../src/sign-in/answered.ts';
import { Questions } from '../../src/sign-in/questions.ts';
import { withoutOwnCookies } from '../../src/sign-in/own-fields.ts';
import { Sessions } from '../../src/sign-in/sessions.ts';
import { Tickets } from '../../src/sign-in/tickets.ts';

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
  const clock = { now: () => now };
  const answered = new Answered(clock);
  const process = (key: Uint8Array = secret, { epoch } = answered): Questions =>
    new Questions({ ...clock, epoch, take: async (...taken) => answered.take(...taken) }, key);
  const questions = process();
  const codeOf = async (nonce: string, host = scope.host, by = questions): Promise<string | undefined> => {
    try {
      await by.answer(nonce, host);
      return undefined;
    } catch (error) {
      return errorCode(error);
    }
  };

  it('is answered once, under the name that asked, whichever process is told', async () => {
    const nonce = questions.ask(scope.host);
    assert.equal(await codeOf(nonce, 'evil.apps.example.com'), 'SIGN_IN_EXPIRED');
    const codes = await Promise.all([codeOf(nonce), codeOf(nonce, scope.host, process()), codeOf(nonce)]);
    assert.deepEqual(codes, [undefined, 'SIGN_IN_EXPIRED', 'SIGN_IN_EXPIRED']);
    assert.equal(await codeOf(`${nonce}=`), 'SIGN_IN_EXPIRED', 'nor in another spelling');
  });

  it('is over after two minutes', async () => {
    const nonce = questions.ask(scope.host);
    now += 120_000;
    assert.equal(await codeOf(nonce), 'SIGN_IN_EXPIRED');
  });

  it('was asked here or is none', async () => {
    await fc.assert(fc.asyncProperty(fc.string(), async (text) => (await codeOf(text)) === 'SIGN_IN_EXPIRED'));
    assert.equal(await codeOf(process(Buffer.from('x')).ask(scope.host)), 'SIGN_IN_EXPIRED');
  });

  it('is nobody’s after a restart, which forgets what was answered', async () => {
    const restarted = process(secret, new Answered(clock));
    assert.equal(await codeOf(questions.ask(scope.host), scope.host, restarted), 'SIGN_IN_EXPIRED');
    assert.equal(await codeOf(restarted.ask(scope.host), scope.host, restarted), undefined);
  });

  it('has room for so many answers and then for none, until the oldest are over', async () => {
    now += 1_000_000;
    for (let index = 0; index < 50_000; index++)
      assert.equal(answered.take(`${index}`, now + 120_000, `name ${index % 100}`), 'first');
    assert.equal(await codeOf(questions.ask(scope.host)), 'GATEWAY_BUSY');
    now += 120_000;
    assert.equal(await codeOf(questions.ask(scope.host)), undefined);
  });

  it('has room though the people of another name sign in without end', async () => {
    now += 1_000_000;
    const taken = Array.from({ length: 2_001 }, (_, index) => answered.take(`own ${index}`, now + 120_000, 'own'));
    assert.deepEqual([taken[1_999], taken[2_000]], ['first', 'full']);
    assert.equal(await codeOf(questions.ask(scope.host)), undefined);
    now += 120_000;
    assert.equal(answered.take('own', now + 120_000, 'own'), 'first');
  });

  it('is not taken where nobody can say whether it was before', async () => {
    const alone = new Questions(
      { ...clock, epoch: answered.epoch, take: () => Promise.reject(new Error('gone')) },
      secret,
    );
    assert.equal(await codeOf(alone.ask(scope.host), scope.host, alone), 'GATEWAY_BUSY');
  });
});

describe('a ticket', () => {
  let now = 5_000_000;
  const answered = new Answered({ now: () => now });
  const questions = new Questions(
    { now: () => now, epoch: answered.epoch, take: (...taken) => answered.take(...taken) },
    secret,
  );
  const tickets = new Tickets({ questions }, secret);

  it('says whose it is as often as it is looked at, and signs in once', async () => {
    const ticket = tickets.issue({ user: 'ed25519:a', proof: 'a.b.c.d' }, scope);
    assert.doesNotMatch(Buffer.from(ticket.split('.')[0] ?? '', 'base64url').toString('latin1'), /ed25519|a\.b/);
    for (const _ of [1, 2]) assert.deepEqual(tickets.read(ticket), { user: 'ed25519:a', proof: 'a.b.c.d' });
    for (const other of [
      { ...scope, host: 'evil.example' },
      { ...scope, ways: 'w2' },
    ]) {
      await assert.rejects(tickets.redeem(ticket, other), { code: 'SIGN_IN_EXPIRED' });
    }
    assert.equal((await tickets.redeem(ticket, scope)).user, 'ed25519:a');
    await assert.rejects(tickets.redeem(ticket, scope), { code: 'SIGN_IN_EXPIRED' });
  });

  it('is nobody else’s, and not two halves', () => {
    const [one, other] = [tickets.issue({ user: 'a' }, scope), tickets.issue({ user: 'b' }, scope)];
    const mixed = `${one.split('.')[0]}.${other.split('.')[1]}`;
    for (const text of ['', '.', mixed, `x${one}`, 'a'.repeat(2_000)]) {
      assert.throws(() => tickets.read(text), { code: 'SIGN_IN_EXPIRED' }, text);
    }
    assert.throws(() => new Tickets({ questions }, Buffer.from('x')).read(one), { code: 'SIGN_IN_EXPIRED' });
  });

  it('is over after a minute', async () => {
    const ticket = tickets.issue({ user: 'a' }, scope);
    now += 60_000;
    await assert.rejects(tickets.redeem(ticket, scope), { code: 'SIGN_IN_EXPIRED' });
  });
});
