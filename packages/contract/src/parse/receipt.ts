/** Receipts: what a machine did with a version. */
import { z } from 'zod';
import type { SignedReceipt } from '../schema.ts';
import { deploymentId, errorCodeText, hash, peerId, signature, time, version } from './fields.ts';

export const signedReceiptSchema: z.ZodType<SignedReceipt> = z.strictObject({
  receipt: z
    .strictObject({
      type: z.literal('moat/receipt/1'),
      deployment: deploymentId,
      node: peerId,
      version,
      head: hash,
      result: z.enum(['applied', 'failed']),
      code: errorCodeText.nullable(),
      time,
    })
    .refine(({ result, code }) => (result === 'applied') === (code === null), 'a code says why it failed'),
  signature,
});
