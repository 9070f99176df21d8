/** docs/errors.md and the code agree: every code is explained once, and nothing explained is gone. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const documented = [...readFileSync(join(root, 'docs/errors.md'), 'utf8').matchAll(/^### ([A-Z][A-Z0-9_]+)$/gm)].map(
  (match) => match[1] ?? '',
);
const sources = globSync('{packages/*,gateway}/src/**/*.ts', { cwd: root }).map((file) => ({
  file,
  text: readFileSync(join(root, file), 'utf8'),
}));

const declared = sources
  .filter(({ file }) => file.endsWith('/errors.ts'))
  .flatMap(({ text }) => {
    const list = /_ERROR_CODES\s*=\s*\[([\s\S]*?)\]\s*as const/.exec(text)?.[1] ?? '';
    return [...list.matchAll(/^\s*'([A-Z][A-Z0-9_]+)'/gm), ...list.matchAll(/,\s*'([A-Z][A-Z0-9_]+)'/g)].map(
      (m) => m[1] ?? '',
    );
  });

test('docs/errors.md explains every declared code, once', () => {
  assert.ok(declared.length > 40, 'the scan found the code lists');
  assert.deepEqual([...new Set(documented)].sort(), documented.toSorted(), 'a code is explained twice');
  assert.deepEqual(
    [...new Set(declared)].filter((code) => !documented.includes(code)),
    [],
    'codes without an entry in docs/errors.md',
  );
  assert.deepEqual(
    documented.filter((code) => !declared.includes(code)),
    [],
    'entries in docs/errors.md without a code',
  );
});

test('every MoatError is raised with a declared code', () => {
  for (const { file, text } of sources) {
    for (const match of text.matchAll(/new MoatError\(\s*'([A-Z0-9_]+)'/g)) {
      assert.ok(declared.includes(match[1] ?? ''), `${file} raises ${match[1]}, which no errors.ts declares`);
    }
  }
});
