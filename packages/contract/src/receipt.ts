/** What a machine says it did with a version, signed with its node key. */
import { MoatError, peerIdFromPublicKey, verifySignature, type Signer } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { keyOfNode } from './signing-key.ts';
import type { Receipt, SignedReceipt } from './schema.ts';

/** A receipt of the machine whose key signs. `code` is null when the version was applied, else why it was not. */
export function createReceipt(fields: Omit<Receipt, 'type' | 'node'>, nodeSigner: Signer): SignedReceipt {
  const { deployment, version, head, result, code, time } = fields;
  const node = peerIdFromPublicKey(nodeSigner.publicKey);
  const receipt: Receipt = { type: 'moat/receipt/1', deployment, node, version, head, result, code, time };
  return { receipt, signature: nodeSigner.sign('moat/receipt/1', canonicalBytes(receipt)) };
}

/** @throws `RECEIPT_FORGED` unless the machine it names signed it. Whether that is a member is the caller's to ask. */
export function verifyReceipt({ receipt, signature }: SignedReceipt): void {
  if (verifySignature('moat/receipt/1', canonicalBytes(receipt), signature, keyOfNode(receipt.node))) return;
  throw new MoatError('RECEIPT_FORGED', 'the receipt is not signed by the machine it names', {
    details: { deployment: receipt.deployment, node: receipt.node, version: receipt.version },
  });
}
