/** Names that people take for one another. */
import assert from 'node:assert/strict';
import { domainToASCII } from 'node:url';
import { test } from 'node:test';
import { skeletonOf, spellingProblem } from '../../src/names/look-alike.ts';

test('labels that look alike have one skeleton', () => {
  const rows = [
    ['paypal', 'paypa1'],
    ['paypal', 'paypai'],
    ['google', 'g00gle'],
    ['modern', 'rnodem'],
    ['www', 'vvvvvv'],
    ['apple', domainToASCII('аррӏе')],
    ['paypal', domainToASCII('pаypal')],
    ['cafe', domainToASCII('café')],
  ];
  for (const [one = '', other = ''] of rows) assert.equal(skeletonOf(one), skeletonOf(other), `${one} ${other}`);
  for (const [one, other] of [
    ['shop', 'shop-2'],
    ['web', 'wed'],
    ['a', 'b'],
    ['my-shop', 'myshop'],
  ] as const) {
    assert.notEqual(skeletonOf(one), skeletonOf(other));
  }
});

test('A-labels are whole, and of scripts that stand together', () => {
  const well = [
    'shop',
    'a--b',
    domainToASCII('bücher'),
    domainToASCII('магазин'),
    domainToASCII('日本語shop'),
    domainToASCII('λόγος'),
  ];
  for (const label of well) assert.equal(spellingProblem(label), undefined, label);
  for (const label of ['xn--', 'xn--a', 'xn--999999999', 'ab--cd', 'xn--Bcher-kva']) {
    assert.equal(spellingProblem(label), 'malformed', label);
  }
  for (const word of ['pаypal', 'аpple', 'βeta']) assert.equal(spellingProblem(domainToASCII(word)), 'mixed', word);
});
