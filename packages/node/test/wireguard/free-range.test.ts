import assert from 'node:assert/strict';
import { test } from 'node:test';
import { remapFor } from '../../src/wireguard/free-range.ts';

const ID = 'a'.repeat(26);

test('a network keeps its range where it is free', () => {
  assert.equal(remapFor(ID, '10.77.0.0/16', []), null);
  assert.equal(remapFor(ID, '10.77.0.0/16', ['10.78.3.1/16', '192.168.1.4/24', '10.76.255.255/32']), null);
});

test('a range that overlaps in any way is taken, and another of its size is found, the same one each time', () => {
  for (const taken of ['10.77.0.0/16', '10.77.3.9/24', '10.0.0.1/8', '10.77.255.255/32', '0.0.0.0/0']) {
    if (taken === '0.0.0.0/0') assert.throws(() => remapFor(ID, '10.77.0.0/16', [taken]), { code: 'RANGE_TAKEN' });
    else {
      const found = remapFor(ID, '10.77.0.0/16', [taken]);
      assert.match(found ?? '', /^100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.0\.0\/16$/);
      assert.equal(remapFor(ID, '10.77.0.0/16', [taken]), found);
      const other = remapFor(ID, '10.77.0.0/16', [taken, found ?? '']);
      assert.notEqual(other, found);
    }
  }
});

test('a network as large as the pool has no room beside itself', () => {
  assert.throws(() => remapFor(ID, '10.0.0.0/8', ['10.1.0.1/24']), { code: 'RANGE_TAKEN' });
});
