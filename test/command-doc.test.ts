/** docs/reference/command.md and the command agree. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { renderCommand } from '../scripts/command-doc.mjs';

test('docs/reference/command.md is what the command says of itself', async () => {
  const page = readFileSync(new URL('../docs/reference/command.md', import.meta.url), 'utf8');
  assert.equal(page, await renderCommand(), 'run `npm run docs:command`');
  assert.doesNotMatch(page, /undefined/);
});
