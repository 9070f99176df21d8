/** The JSON Schema that editors use for moat.yaml, made from the same source as validation. */
import { z } from 'zod';
import { fileSchema } from './file-schema.ts';

/** Draft 7, which is what editors' YAML support reads. */
export function deploymentFileJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(fileSchema, { io: 'input', target: 'draft-7' });
  return { $schema, title: 'Moat deployment file (moat.yaml), version 1', ...rest };
}
