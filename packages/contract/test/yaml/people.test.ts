import assert from 'node:assert/strict';
import { test } from 'node:test';
import { handlesToResolve, parseDeploymentFile, withOwnerKeys, type DeploymentFile } from '@moat/contract';
import { ana, ben, firstVersion, stranger } from '../deployment.fixture.ts';

function fileWith(owners: string): DeploymentFile {
  const { file, diagnostics } = parseDeploymentFile(
    `version: 1\nname: shop\nowners: ${owners}\nmembers: { web: { keeper: true } }\n`,
    'moat.yaml',
  );
  assert.deepEqual(diagnostics, []);
  assert.ok(file);
  return file;
}

test('an owner written as a handle is looked up once, and has a key from then on', () => {
  const file = fileWith(`{ threshold: 1, keys: { ana: "${ana.key}", newcomer: { key: "@dora", weight: 2 } } }`);
  assert.deepEqual(handlesToResolve(file, null), ['dora']);
  const resolved = withOwnerKeys(file, new Map([['dora', stranger.key]]), null);
  assert.deepEqual(
    resolved.owners.keys?.map(({ key }) => key),
    [ana.key, stranger.key],
  );
  assert.throws(() => withOwnerKeys(file, new Map(), null), { code: 'OWNER_UNRESOLVED' });
});

test('who is an owner already stays, whoever has the handle now', () => {
  const current = firstVersion().contract;
  const name = current.owners.keys.find(({ key }) => key === ben.key)?.name ?? '';
  const file = fileWith(`{ threshold: 1, keys: { ${name}: "@ben" } }`);
  assert.deepEqual(handlesToResolve(file, current), []);
  const resolved = withOwnerKeys(file, new Map([['ben', stranger.key]]), current);
  assert.deepEqual(
    resolved.owners.keys?.map(({ key }) => key),
    [ben.key],
  );
});

test('a handle is a label', () => {
  const { diagnostics } = parseDeploymentFile(
    'version: 1\nname: shop\nowners: { threshold: 1, keys: { ben: "@Ben!" } }\nmembers: { web: { keeper: true } }\n',
    'moat.yaml',
  );
  assert.equal(diagnostics.length, 1);
});
