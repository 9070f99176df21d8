/** docs/errors.md and the code agree: every code is explained, and nothing explained is gone. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { renderErrors } from '../scripts/errors-doc.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const page = readFileSync(join(root, 'docs/errors.md'), 'utf8');
const sources = globSync('{packages/*,gateway}/src/**/*.ts', { cwd: root }).map((file) => ({
  file,
  text: readFileSync(join(root, file), 'utf8'),
}));
const declared = sources
  .filter(({ file }) => file.endsWith('/errors.ts'))
  .flatMap(({ text }) => {
    const list = /_ERROR_CODES\s*=\s*\[([\s\S]*?)\]\s*as const/.exec(text)?.[1] ?? '';
    return [...list.matchAll(/'([A-Z][A-Z0-9_]+)',/g)].map((match) => match[1] ?? '');
  });

test('docs/errors.md is what the comments beside the codes say', () => {
  assert.equal(page, renderErrors(), 'run `npm run docs:errors`');
});

test('every code has a meaning and a remedy', () => {
  assert.ok(declared.length > 100, 'the scan found the code lists');
  assert.deepEqual(
    declared.filter((code) => !page.includes(`### ${code}\n`)),
    [],
  );
});

test('every MoatError is raised with a declared code', () => {
  for (const { file, text } of sources) {
    for (const match of text.matchAll(/new MoatError\(\s*'([A-Z0-9_]+)'/g)) {
      assert.ok(declared.includes(match[1] ?? ''), `${file} raises ${match[1]}, which no errors.ts declares`);
    }
  }
});
