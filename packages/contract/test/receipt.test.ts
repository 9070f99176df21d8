import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMoatError } from '@moat/core';
import { canonicalize, createReceipt, formatTime, headHash, parseSignedReceipt, verifyReceipt } from '@moat/contract';
import { NOW, deployment, firstVersion, stranger, web1 } from './deployment.fixture.ts';

const { head } = firstVersion();
const fields = { deployment, version: 0, head: headHash(head), time: formatTime(NOW) };
const applied = createReceipt({ ...fields, result: 'applied', code: null }, web1.signer);
const failed = createReceipt({ ...fields, result: 'failed', code: 'DISK_FULL' }, web1.signer);

test('a machine signs what it did with a version', () => {
  for (const receipt of [applied, failed]) {
    assert.deepEqual(parseSignedReceipt(canonicalize(receipt)), receipt);
    verifyReceipt(receipt);
    assert.equal(receipt.receipt.node, web1.peer);
  }
});

test('nobody answers for another machine, and nobody changes what it said', () => {
  const { receipt, signature } = failed;
  for (const forged of [
    { receipt: { ...receipt, node: stranger.peer }, signature },
    { receipt: { ...receipt, result: 'applied' as const, code: null }, signature },
    { receipt: { ...receipt, version: 1 }, signature },
    { receipt, signature: stranger.signer.sign('moat/receipt/1', Buffer.from(canonicalize(receipt))) },
    { receipt: { ...receipt, node: 'nobody' }, signature },
  ]) {
    assert.throws(() => verifyReceipt(forged), { code: 'RECEIPT_FORGED' });
  }
});

test('a reason is a code, and stands where it failed', () => {
  const of = (change: object): unknown => ({ ...failed, receipt: { ...failed.receipt, ...change } });
  for (const bad of [
    { code: null },
    { result: 'applied' },
    { code: 'no disk' },
    { code: 'X'.repeat(65) },
    { code: '' },
  ]) {
    assert.throws(() => parseSignedReceipt(of(bad)), { code: 'CONTRACT_INVALID' });
  }
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.throws(
        () => parseSignedReceipt(value),
        (error) => isMoatError(error),
      );
    }),
  );
});
