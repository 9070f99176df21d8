/** A publish line that gives its name up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  fileFromContract,
  formatDiagnostic,
  parseDeploymentFile,
  planChanges,
  publicationHash,
  publicationsOf,
} from '@moat/contract';
import { contract } from './deployment.fixture.ts';

const OTHER = 'abcdefghijklmnopqrstuvwx23';

test('it is in the publication, the plan and the file; without it nothing changes', () => {
  const [line] = contract.publish;
  assert.ok(line);
  const given = { ...contract, version: contract.version + 1, publish: [{ ...line, transfer: OTHER }] };
  const [before, after] = [contract, given].map((each) => publicationsOf(each).find(({ name }) => name === line.name));
  assert.ok(before && after);
  assert.equal(after.transfer, OTHER);
  assert.equal('transfer' in before, false);
  assert.notEqual(publicationHash(before), publicationHash(after));
  assert.match(JSON.stringify(planChanges(contract, given)), /given to/);
  const text = fileFromContract(given);
  assert.match(text, new RegExp(`transfer: ${OTHER}`));
  const { file, diagnostics } = parseDeploymentFile(text, 'moat.yaml');
  assert.deepEqual(diagnostics, []);
  assert.equal(file?.publish[0]?.transfer, OTHER);
});

test('what is neither an id nor nobody is refused with its place', () => {
  const text = fileFromContract(contract).replace(/^( +)service: (\w+)$/m, '$1service: $2\n$1transfer: shop');
  const { diagnostics } = parseDeploymentFile(
    text.includes('transfer') ? text : text.replace('service: web }', 'service: web, transfer: shop }'),
    'moat.yaml',
  );
  assert.match(diagnostics.map(formatDiagnostic).join('\n'), /the id of a deployment/);
});
