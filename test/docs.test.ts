/** What the documentation points at exists, and its reference of moat.yaml is whole. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseDeploymentFile } from '@moat/contract';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pages = globSync(['*.md', 'docs/**/*.md', '{packages,examples}/*/README.md', 'gateway/README.md'], { cwd: root });
const textOf = (page: string): string => readFileSync(join(root, page), 'utf8');

test('every link leads somewhere, to its heading too', () => {
  const broken: string[] = [];
  for (const page of pages) {
    for (const match of withoutBlocks(textOf(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
      const [path = '', heading] = (match[1] ?? '').split('#');
      if (/^[a-z]+:/.test(path)) continue;
      const file = path === '' ? join(root, page) : join(root, dirname(page), path);
      if (!existsSync(file)) broken.push(`${page}: ${path}`);
      else if (heading !== undefined && !headingsOf(file).includes(heading)) broken.push(`${page}: ${path}#${heading}`);
    }
  }
  assert.deepEqual(broken, []);
});

test('every claim of docs/explanation/trust.md names a test that is there', () => {
  const page = 'docs/explanation/trust.md';
  const claims = [...textOf(page).matchAll(/\]\((\S+\.test\.ts) (['"])(.+?)\2\)/g)];
  const unproven = claims.filter(([, file = '', , name = '']) => !textOf(join(dirname(page), file)).includes(name));
  assert.deepEqual(
    unproven.map(([, file, , name]) => `${file}: ${name}`),
    [],
  );
  assert.ok(claims.length > 40, `the scan found claims (${claims.length})`);
});

test('every file that is named by its path exists', () => {
  const gone: string[] = [];
  let named = 0;
  for (const page of pages.filter((each) => each !== 'CHANGELOG.md')) {
    for (const match of textOf(page).matchAll(/`((?:packages|gateway|examples|scripts|docs|test)\/[\w./-]+)`/g)) {
      const path = match[1] ?? '';
      named += 1;
      // A README names its own package's files from its own folder.
      if (![root, join(root, dirname(page))].some((base) => existsSync(join(base, path))))
        gone.push(`${page}: ${path}`);
    }
  }
  assert.deepEqual(gone, []);
  assert.ok(named > 10, `the scan found paths (${named})`);
});

test('docs/reference/moat-yaml.md names every field, and its example is valid', () => {
  const page = textOf('docs/reference/moat-yaml.md');
  const schema: unknown = JSON.parse(textOf('packages/contract/schema/moat.v1.json'));
  const fields = [...new Set(fieldsIn(schema))];
  assert.ok(fields.length > 20, 'the schema has fields');
  assert.deepEqual(
    fields.filter((field) => !page.includes(`| \`${field}\``)),
    [],
  );
  const example = /^```yaml\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? '';
  assert.deepEqual(parseDeploymentFile(example, 'moat-yaml.md').diagnostics, []);
});

function withoutBlocks(text: string): string {
  return text.replaceAll(/^```[\s\S]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '');
}

/** Anchors as the usual renderers make them. */
function headingsOf(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** Names of all properties a JSON Schema knows. */
function fieldsIn(schema: unknown): string[] {
  if (Array.isArray(schema)) return schema.flatMap(fieldsIn);
  if (typeof schema !== 'object' || schema === null) return [];
  return Object.entries(schema).flatMap(([key, value]) => [
    ...(key === 'properties' ? Object.keys(value as object) : []),
    ...fieldsIn(value),
  ]);
}
