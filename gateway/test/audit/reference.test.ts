/** The page on the audit log has a row for every action. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { AUDIT_ACTIONS } from '../../src/audit/chain.ts';

test('docs/reference/audit-log.md explains every action', () => {
  const page = readFileSync(new URL('../../../docs/reference/audit-log.md', import.meta.url), 'utf8');
  assert.deepEqual(
    AUDIT_ACTIONS.filter((action) => !page.includes(`\`${action}\``)),
    [],
  );
});
