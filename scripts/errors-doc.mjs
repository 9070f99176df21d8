/**
 * Writes docs/errors.md from the comments beside the codes in each package's errors.ts (`'CODE', // meaning | remedy`).
 * `npm run docs:errors`; test/errors.test.ts fails when the page is not what this writes.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SECTIONS = [
  ['packages/contract', 'Contracts, tokens, claims and publications'],
  ['packages/identity', 'Keys and their files'],
  ['packages/overlay', 'Finding and reaching other machines'],
  ['packages/link', 'Links and streams'],
  ['packages/network', 'Reaching services'],
  ['packages/wireguard', 'WireGuard interfaces'],
  ['packages/acme', 'Certificates from an authority'],
  ['packages/admin-api', 'The local API'],
  ['packages/node', 'The agent'],
  ['gateway', 'The gateway'],
  ['packages/cli', 'The command'],
  ['packages/core', 'Everywhere'],
];

const INTRODUCTION = `# Errors

Every failure has a code: on the last line of a command's message, in \`error.code\` of \`--json\` output and of the local API, on a
gateway's error page, and in the \`code\` field of the log. A code never changes its meaning.
`;

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The text of docs/errors.md; a code that two packages share is explained where it first stands. */
export function renderErrors() {
  const seen = new Set();
  const sections = SECTIONS.map(([folder, title]) => {
    const entries = readCodes(folder).filter(({ code }) => !seen.has(code));
    for (const { code } of entries) seen.add(code);
    return `## ${title}\n\n${entries.map(renderEntry).join('\n')}`;
  });
  return [INTRODUCTION, ...sections].join('\n');
}

function readCodes(folder) {
  const text = readFileSync(join(root, folder, 'src', 'errors.ts'), 'utf8');
  const list = /_ERROR_CODES\s*=\s*\[([\s\S]*?)\]\s*as const/.exec(text)?.[1] ?? '';
  return [...list.matchAll(/'([A-Z][A-Z0-9_]+)',\s*\/\/ (.+?) \| (.+)/g)].map(([, code, meaning, remedy]) => ({
    code,
    meaning,
    remedy,
  }));
}

function renderEntry({ code, meaning, remedy }) {
  return `### ${code}\n\n${sentence(meaning)}\n\n_Remedy:_ ${sentence(remedy)}\n`;
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(join(root, 'docs', 'errors.md'), renderErrors());
