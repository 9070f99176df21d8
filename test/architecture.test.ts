/** The layers of docs/architecture.md §9 as a test: who may import whom, and why not. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** What each package's sources may import of Moat. */
const ALLOWED: Record<string, readonly string[]> = {
  core: [],
  identity: ['core'],
  contract: ['core'],
  overlay: ['core', 'identity', 'contract'],
  link: ['core'],
  acme: ['core'],
  wireguard: ['core'],
  network: ['core', 'contract'],
  'admin-api': ['core'],
  node: ['core', 'identity', 'contract', 'overlay', 'link', 'acme', 'network', 'wireguard', 'admin-api'],
  gateway: ['core', 'identity', 'contract', 'overlay', 'link', 'acme', 'admin-api'],
  cli: ['core', 'identity', 'contract', 'admin-api', 'node', 'gateway'],
  testkit: ['core'],
};

/** Why the tempting edges are not there. */
const REASONS: Record<string, string> = {
  'contract → identity': 'a contract judges signatures, it never holds a key; signatures are in core',
  'identity → contract': 'a key does not know what it signs',
  'link → overlay': 'a link must run over memory and sockets too; it asks the ControlPlane port',
  'overlay → link': 'the control plane works when no link does',
  'network → link': 'a private network runs on the Links port, so its tests need no sockets',
  'network → overlay': 'policy must not depend on how peers were found',
  'network → wireguard': 'a private network runs on the Tunnels port, so its tests need no root',
  'wireguard → network': 'the machine is brought in line with any spec; which one the grants make is not its to know',
  'wireguard → contract': 'keys and ranges come as text, so that no field of a contract is read twice',
  'gateway → wireguard': 'the gateway stands outside every private network: no address, no key, no route of one',
  'gateway → network': 'the gateway stands outside every private network: no address, no key, no route of one',
  'gateway → node': 'two processes with two identities; what both need belongs below them',
  'node → gateway': 'an agent must start where no gateway is installed',
  'acme → identity': 'keys of certificates are sealed by who keeps them, behind the CertificateStore port',
  'link → contract': 'who may open what is decided by the acceptor passed in, in one place',
};

/** Modules that do I/O or read time, which the pure layers must not use. */
const IMPURE = /^node:(fs|net|tls|http|https|http2|dgram|dns|child_process|worker_threads|cluster|sqlite|timers)/;
/** Files of pure packages that touch the machine on purpose, with the reason. */
const IMPURE_ON_PURPOSE: Record<string, string> = {
  'packages/identity/src/private-file.ts': 'the one place that puts keys on disk',
  'packages/core/src/clock.ts': 'the system clock behind the Clock port',
};

interface Import {
  readonly file: string;
  readonly owner: string;
  readonly specifier: string;
}

const imports = [
  ...globSync('packages/*/src/**/*.ts', { cwd: root }),
  ...globSync('gateway/src/**/*.ts', { cwd: root }),
]
  .map((file) => ({ file, text: readFileSync(join(root, file), 'utf8') }))
  .flatMap(({ file, text }): Import[] => {
    const owner = file.startsWith('gateway') ? 'gateway' : (file.split('/')[1] ?? '');
    const specifiers = text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)/g);
    return [...specifiers].map((match) => ({ file, owner, specifier: match[1] ?? match[2] ?? '' }));
  });

test('imports between packages follow the layers', () => {
  assert.ok(imports.length > 50, 'the scan found the sources');
  for (const { file, owner, specifier } of imports) {
    const target = /^@moat\/([^/]+)/.exec(specifier)?.[1];
    if (target === undefined || target === owner) continue;
    const why = REASONS[`${owner} → ${target}`] ?? 'not an edge of docs/architecture.md §9';
    assert.ok(ALLOWED[owner]?.includes(target), `${file} imports @moat/${target}: ${why}`);
  }
});

test('no package reaches into another behind its index', () => {
  for (const { file, specifier } of imports) {
    assert.doesNotMatch(specifier, /^@moat\/[^/]+\/(src|dist|test)/, `${file} imports ${specifier}`);
    if (!specifier.startsWith('.')) continue;
    const resolved = relative(root, join(root, dirname(file), specifier));
    const home = file.startsWith('gateway') ? 'gateway/' : file.split('/').slice(0, 2).join('/');
    assert.ok(resolved.startsWith(home), `${file} leaves its package by ${specifier}`);
  }
});

test('core, identity and contract are pure', () => {
  for (const { file, owner, specifier } of imports) {
    if (!['core', 'identity', 'contract'].includes(owner) || file in IMPURE_ON_PURPOSE) continue;
    assert.doesNotMatch(specifier, IMPURE, `${file}: pure packages do no I/O`);
    const text = readFileSync(join(root, file), 'utf8');
    assert.doesNotMatch(text, /\bDate\.now\(|new Date\(\)/, `${file}: pure code takes \`now\` as an argument`);
  }
});

test('only the edges of processes touch argv, exit codes and signals', () => {
  for (const file of globSync('{packages/*,gateway}/src/**/*.ts', { cwd: root })) {
    if (/\/(main|config|logger)\.ts$/.test(file) || file.startsWith('packages/cli/')) continue;
    const text = readFileSync(join(root, file), 'utf8');
    assert.doesNotMatch(text, /process\.(exit|argv|on|once)\b/, `${file}: belongs in main.ts`);
  }
});

test('every package says what it is for', () => {
  for (const file of globSync('{packages/*,gateway}/src/index.ts', { cwd: root })) {
    assert.match(readFileSync(join(root, file), 'utf8'), /@packageDocumentation/, `${file} has no package header`);
  }
});

test('every declared dependency on Moat is an allowed edge', () => {
  for (const file of globSync('{packages/*,gateway}/package.json', { cwd: root })) {
    const manifest = JSON.parse(readFileSync(join(root, file), 'utf8')) as { name: string; dependencies?: object };
    const owner = manifest.name.slice('@moat/'.length);
    for (const name of Object.keys(manifest.dependencies ?? {})) {
      if (name.startsWith('@moat/')) assert.ok(ALLOWED[owner]?.includes(name.slice(6)), `${file} depends on ${name}`);
    }
  }
});
