import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { deploymentFileJsonSchema } from '@moat/contract';

it('the shipped JSON Schema is the one made from the source', () => {
  const shipped: unknown = JSON.parse(readFileSync(new URL('../../schema/moat.v1.json', import.meta.url), 'utf8'));
  const made: unknown = JSON.parse(JSON.stringify(deploymentFileJsonSchema()));
  assert.deepEqual(shipped, made, 'run npm run schema in packages/contract');
});

it('every object in it is closed, so editors mark unknown fields', () => {
  const open: string[] = [];
  const visit = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null) return;
    if ('properties' in value && !('additionalProperties' in value)) open.push(path);
    for (const [key, inner] of Object.entries(value)) visit(inner, `${path}/${key}`);
  };
  visit(deploymentFileJsonSchema(), '');
  assert.deepEqual(open, []);
});
