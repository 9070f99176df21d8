import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import fc from 'fast-check';
import { readLeaves } from '../../../src/plane/port-mapping/xml-leaves.ts';

test('elements that hold text, by the one they stand in', () => {
  const xml = `\ufeff<?xml version="1.0"?><!-- a <b> --><s:a xmlns:s='x>y'><b k="</b>"> 1 &lt;&amp;&#65; </b><c/><d><e>2</e></d>rest</s:a>`;
  const leaves = readLeaves(xml);
  assert.deepEqual(
    leaves.map(({ name, text }) => [name, text]),
    [
      ['b', '1 <&&#65;'],
      ['c', ''],
      ['e', '2'],
    ],
  );
  assert.equal(leaves[0]?.parent, leaves[1]?.parent);
  assert.notEqual(leaves[0]?.parent, leaves[2]?.parent);
});

test('what it does not read is refused', () => {
  const texts = [
    '<a>',
    '</a>',
    '<a></b>',
    '<a><b></a></b>',
    '<a',
    '<a b="></a>',
    '<!DOCTYPE a><a></a>',
    '<a><![CDATA[x]]></a>',
    '<!-- ',
    '<1></1>',
    '<'.repeat(65_536),
    // Read in any but linear time it would never end.
    `<${'a'.repeat(4 << 20)}`,
    '<a '.repeat(20_000),
    `<a ${'b="'.repeat(20_000)}`,
    '<a>'.repeat(33) + '</a>'.repeat(33),
    `<r>${'<a/>'.repeat(4_096)}</r>`,
  ];
  for (const text of texts) assert.throws(() => readLeaves(text), { code: 'ROUTER_INVALID' }, text.slice(0, 40));
});

test('whatever there is to read ends in leaves or a coded error', () => {
  const pieces = ['<a>', '</a>', '<a/>', '<b x="', '"', "'", '>', '&amp;', '<!--', '-->', '<?', '?>', 't', ' '];
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(fc.constantFrom(...pieces)).map((all) => all.join('')),
      ),
      (text) => {
        try {
          readLeaves(text);
        } catch (error) {
          assert.ok(isMoatError(error, 'ROUTER_INVALID'));
        }
      },
    ),
  );
});
