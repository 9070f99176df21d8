import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { compileAddressRule } from '../../src/rules/address-rule.ts';
import { compileDestinations } from '../../src/rules/destinations.ts';
import { compileHeaderChanges } from '../../src/rules/header-changes.ts';
import { locationOf } from '../../src/rules/redirect.ts';
import { StickyMarks, withoutMark } from '../../src/rules/sticky.ts';

const SHOP = { host: 'shop.example', service: 'web' };

describe('addresses', () => {
  const rows = [
    [{ allow: ['192.0.2.0/24'] }, '192.0.2.7', true],
    [{ allow: ['192.0.2.0/24'] }, '192.0.3.7', false],
    [{ allow: ['192.0.2.0/24'] }, '2001:db8::1', false],
    [{ allow: ['192.0.2.0/24'], deny: ['192.0.2.66'] }, '192.0.2.66', false],
    [{ allow: ['192.0.2.66'], deny: ['192.0.2.0/24'] }, '192.0.2.66', false],
    [{ deny: ['2001:db8::/32'] }, '2001:db8:ffff::1', false],
    [{ deny: ['2001:db8::/32'] }, '2001:db9::1', true],
    [{ deny: ['0.0.0.0/0'] }, '198.51.100.1', false],
    [{ deny: ['0.0.0.0/0'] }, '2001:db8::1', true],
    [{ deny: ['::/0'] }, '2001:db8::1', false],
  ] as const;
  for (const [from, address, may] of rows) {
    it(`${JSON.stringify(from)}: ${address} ${may ? 'may' : 'may not'}`, () => {
      assert.equal(compileAddressRule(from)(address), may);
    });
  }
});

describe('changes of fields', () => {
  const fields = [
    ['server', 'x'],
    ['x-a', '1'],
    ['x-a', '2'],
  ] as const;

  it('set replaces every field of the name, remove takes it away', () => {
    assert.deepEqual(compileHeaderChanges({ set: { 'x-a': '3' }, remove: ['server'] })(fields), [['x-a', '3']]);
  });

  it('a list with nothing to change stays the same list', () => {
    assert.equal(compileHeaderChanges({ remove: ['cookie'] })(fields), fields);
  });
});

describe('redirects', () => {
  const rows = [
    ['https://www.shop.example/', '/a?b', 'https://www.shop.example/a?b'],
    ['https://www.shop.example/', '//evil.example/a', 'https://www.shop.example//evil.example/a'],
    ['https://www.shop.example/moved', '/a?b', 'https://www.shop.example/moved'],
    ['https://www.shop.example/', '*', 'https://www.shop.example/'],
  ] as const;
  for (const [to, target, location] of rows) {
    it(`${target} at ${to}`, () => assert.equal(locationOf({ to, status: 308 }, target), location));
  }
});

describe('destinations', () => {
  const at = compileDestinations({
    paths: [
      { prefix: '/api', service: 'api' },
      { prefix: '/api/v2', service: 'next', strip: true },
      { prefix: '/files/', service: 'files', strip: true },
    ],
  });
  const rows = [
    ['/', undefined, '/'],
    ['/api', 'api', '/api'],
    ['/api?x', 'api', '/api?x'],
    ['/api/x', 'api', '/api/x'],
    ['/apis', undefined, '/apis'],
    ['/API', undefined, '/API'],
    ['/api/v2', 'next', '/'],
    ['/api/v2?x', 'next', '/?x'],
    ['/api/v2/y', 'next', '/y'],
    ['/api/v22', 'api', '/api/v22'],
    ['/files/a', 'files', '/a'],
    ['/files//evil.example', 'files', '/evil.example'],
    ['/files', undefined, '/files'],
    ['*', undefined, '*'],
  ] as const;
  for (const [target, service, asked] of rows) {
    it(`${target} goes to ${service ?? 'its own service'}`, () => {
      assert.deepEqual(at(target, '192.0.2.1'), { service, target: asked });
    });
  }

  it('an address is always in the same part, and parts are about as large as they should be', () => {
    const split = compileDestinations({ split: [{ service: 'next', percent: 20 }] });
    let next = 0;
    for (let index = 0; index < 5_000; index++) {
      const address = `10.${index >> 8}.${index & 255}.1`;
      const { service } = split('/', address);
      assert.equal(split('/other', address).service, service);
      if (service === 'next') next += 1;
    }
    assert.ok(next > 850 && next < 1_150, `${next} of 5,000`);
  });
});

describe('the cookie of a member', () => {
  const members = ['12D3KooWA', '12D3KooWB'];
  const marks = new StickyMarks(Buffer.from('secret'));
  const cookie = marks.cookie(SHOP, members[1] as string).split(';')[0] as string;

  it('leads back to the member, under its host and with its key only', () => {
    assert.equal(marks.find(`a=b; ${cookie}; c=d`, SHOP, members), members[1]);
    assert.equal(marks.find(cookie, { host: 'other.example', service: 'web' }, members), undefined);
    assert.equal(new StickyMarks(Buffer.from('other')).find(cookie, SHOP, members), undefined);
    assert.equal(marks.find(cookie, SHOP, ['12D3KooWA']), undefined);
    assert.equal(marks.find(undefined, SHOP, members), undefined);
    assert.equal(marks.find(cookie, { ...SHOP, service: 'api' }, members), undefined, 'each service has its own');
  });

  it('says nothing of who the member is, and does not reach the service', () => {
    assert.ok(!cookie.includes('12D3'));
    assert.equal(withoutMark(`a=b; ${cookie}; c=d`), 'a=b; c=d');
    assert.equal(withoutMark(cookie), undefined);
  });

  it('takes any bytes for a cookie', () => {
    fc.assert(fc.property(fc.string(), (text) => marks.find(text, SHOP, members) === undefined));
  });
});
