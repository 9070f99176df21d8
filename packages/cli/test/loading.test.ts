/** A command loads what it uses: each module costs its start half a millisecond. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createProgram } from '../src/program.ts';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

async function verbs(first?: string): Promise<string[]> {
  const program = await createProgram({ stdout: process.stdout }, () => Promise.resolve(), '0', first);
  return program.commands.map((command) => command.name());
}

test('every verb is found by its own name, and nearly alone', async () => {
  const all = await verbs();
  assert.ok(all.length > 30);
  for (const name of all) {
    const found = await verbs(name);
    assert.ok(found.includes(name));
    assert.ok(name === 'completion' ? found.length === all.length : found.length <= 2, `${name}: ${found.join(' ')}`);
  }
});

test('what is no verb is looked for among all', async () => {
  const all = await verbs();
  for (const first of ['help', '--help', '--version', 'aply', 'constructor', ''])
    assert.deepEqual(await verbs(first), all);
});

test('a command that asks the agent loads neither a server nor libp2p, nor TLS', () => {
  const watch = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    process.on('exit', () => process.stdout.write(JSON.stringify(loaded)));`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      '--conditions=@moat/source',
      '--import',
      `data:text/javascript,${encodeURIComponent(watch)}`,
      main,
      'apply',
      '--help',
    ],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  const loaded = JSON.parse(stdout.slice(stdout.lastIndexOf('["'))) as string[];
  assert.ok(loaded.some((url) => url.endsWith('/commands/apply.ts')));
  const kept = loaded.filter((url) =>
    /\/node_modules\/(?:hono|@libp2p)\/|\/packages\/(?:overlay|node)\/|^node:(?:https?|tls)$/.test(url),
  );
  assert.deepEqual(kept, []);
});
