import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { PATH_REASONS, whyNotDirect } from '../../src/plane/paths/path-state.ts';

test('every reason is explained', () => {
  const page = readFileSync(new URL('../../../../docs/explanation/ways-of-packets.md', import.meta.url), 'utf8');
  for (const code of Object.keys(PATH_REASONS)) assert.ok(page.includes(`| \`${code}\``), code);
  assert.match(whyNotDirect('BOTH_SYMMETRIC').text, /both routers/);
});
