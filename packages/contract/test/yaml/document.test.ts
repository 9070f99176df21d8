import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CONTRACT_ERROR_CODES, formatDiagnostic, parseDeploymentFile } from '@moat/contract';
import fc from 'fast-check';

/** An eighth of what is read: enough that anything quadratic would miss the deadline. */
const SIZE = 128 * 1024;

/** Text that costs a careless reader a long time or much memory; each must end in an error, soon. */
const HOSTILE: Readonly<Record<string, string>> = {
  'deep lists': '['.repeat(SIZE),
  'deep maps': '{a: '.repeat(SIZE / 4),
  'deep blocks': '- '.repeat(SIZE / 2),
  'deep keys': '? '.repeat(SIZE / 2),
  'an alias bomb': [
    'a: &b0 [1]',
    ...Array.from({ length: 30 }, (_, i) => `k${i}: &b${i + 1} [${`*b${i}, `.repeat(9)}]`),
  ].join('\n'),
  'many aliases': `a: &a {b: {c: {d: 1}}}\nz: [${'*a,'.repeat(40_000)}]`,
  'an alias to itself': 'a: &a [*a]',
  'many keys': Array.from({ length: SIZE / 12 }, (_, i) => `key${i}: 1`).join('\n'),
  'one key many times': 'x: 1\n'.repeat(SIZE / 5),
  'many documents': '---\n'.repeat(SIZE / 4),
  'a length with fields': 'version: 1\nname: {length: {toString: 1, valueOf: 2}}',
  quotes: '"'.repeat(SIZE),
  'a long word': `name: ${'a'.repeat(SIZE - 10)}`,
  'a long key': `version: 1\nname: a\nmembers:\n  ? ${'a'.repeat(SIZE - 100)}\n  : {}`,
  'too large': ' '.repeat(8 * SIZE + 1),
};

describe('reading a file', () => {
  for (const [name, text] of Object.entries(HOSTILE)) {
    it(`gets over ${name}`, { timeout: 30_000 }, () => {
      const { file, diagnostics } = parseDeploymentFile(text, 'moat.yaml');
      assert.equal(file, undefined);
      assert.ok(diagnostics.length >= 1 && diagnostics.length <= 50);
      for (const diagnostic of diagnostics) assert.ok(formatDiagnostic(diagnostic).length < 1000);
    });
  }

  it('has no name that reaches a prototype', () => {
    const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString'];
    for (const name of names) {
      const text = `version: 1\nname: a\nmembers: { here: { keeper: true }, ${name}: { tags: [x] } }\n`;
      const { file, diagnostics } = parseDeploymentFile(text, 'moat.yaml');
      if (name === 'constructor') assert.deepEqual(file?.members[1]?.tags, ['x']);
      else assert.match(diagnostics.map(formatDiagnostic).join(), /a name is 1–63|__proto__ is no name/);
      assert.equal(({} as { tags?: unknown }).tags, undefined);
    }
  });

  it('says something coded about any text, at a place inside it', () => {
    const words = fc.constantFrom(
      'version',
      'name',
      'members',
      'services',
      'access',
      'publish',
      'owners',
      'keys',
      'gateway',
      'on',
      'web',
      'tag:web',
      ':',
      ': ',
      '\n',
      '\n  ',
      '\n    ',
      '- ',
      '[',
      ']',
      '{',
      '}',
      ', ',
      '&a ',
      '*a',
      '"',
      '|',
      '1',
      'null',
      '30d',
      '#',
      '~',
      '!x ',
    );
    const text = fc.oneof(
      fc.string({ maxLength: 200, unit: 'binary' }),
      fc.json(),
      fc.array(words, { maxLength: 60 }).map((parts) => `version: 1\nname: a\n${parts.join('')}`),
    );
    fc.assert(
      fc.property(text, (input) => {
        const { file, diagnostics } = parseDeploymentFile(input, 'f');
        assert.ok(file !== undefined || diagnostics.some(({ severity }) => severity === 'error'));
        const lines = input.split('\n').length;
        for (const { line, col, code } of diagnostics) {
          assert.ok(line >= 1 && line <= lines + 1 && col >= 1);
          assert.ok(CONTRACT_ERROR_CODES.includes(code));
        }
      }),
      { numRuns: 2000 },
    );
  });
});
