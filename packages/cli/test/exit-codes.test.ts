import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EXIT, LISTED_CODES, exitCodeOf } from '../src/exit-codes.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const declared = globSync('{packages/*,gateway}/src/errors.ts', { cwd: root }).flatMap((file) => {
  const list = /_ERROR_CODES[^=]*=\s*\[([\s\S]*?)\]\s*as const/.exec(readFileSync(join(root, file), 'utf8'))?.[1] ?? '';
  const codes = list.replaceAll(/\/\/.*$/gm, '').matchAll(/'([A-Z][A-Z0-9_]+)'/g);
  return [...codes].map((match) => ({ file, code: match[1] ?? '' }));
});

test('the table names no code that nobody raises, and none twice', () => {
  const known = new Set(declared.map(({ code }) => code));
  assert.ok(known.size > 100, 'the scan found the code lists');
  assert.deepEqual(
    LISTED_CODES.filter((code) => !known.has(code)),
    [],
  );
  assert.equal(new Set(LISTED_CODES).size, LISTED_CODES.length);
});

test('what a retry cannot mend does not ask a supervisor to retry', () => {
  const final = /(_INVALID|_UNKNOWN|_DENIED|_MISSING|_EXISTS|_HELD|_TAKEN|_EXPIRED|_FORGED|_UNSUPPORTED)$/;
  const asked = /packages\/(cli|contract|identity|node|overlay)\//;
  // Answers of a peer or an agent that may have been replaced meanwhile.
  const transient = new Set(['MESSAGE_INVALID', 'INVITE_UNKNOWN', 'PROTOCOL_UNSUPPORTED']);
  for (const { file, code } of declared) {
    if (!final.test(code) || !asked.test(file) || transient.has(code)) continue;
    assert.notEqual(exitCodeOf(code), EXIT.failed, `${code} of ${file} needs an exit code of its own`);
  }
});

test('what only somebody else can mend, and what time alone mends', () => {
  const expected = {
    [EXIT.invalid]: ['SECRET_UNREADABLE', 'PROPOSAL_INVALID'],
    [EXIT.refused]: [
      'KEEPER_SILENT',
      'PLACE_FROZEN',
      'MEMBER_LIMIT',
      'FORWARD_LIMIT',
      'OWNER_REFUSED',
      'PUBLISHER_REFUSED',
    ],
    [EXIT.notFound]: ['PROPOSAL_UNKNOWN', 'OWNER_UNKNOWN'],
    [EXIT.conflict]: ['VERSION_CONFLICT', 'PROPOSAL_STALE', 'HEAD_FORKED', 'ROTATION_NOT_BEGUN'],
    [EXIT.failed]: ['DISK_FULL', 'DISK_FAILED', 'STALE', 'PROPOSALS_FULL', 'PEER_VACANT', 'NO_KEEPER_REACHABLE'],
  };
  for (const [exit, codes] of Object.entries(expected)) {
    for (const code of codes) assert.equal(exitCodeOf(code), Number(exit), code);
  }
});

test('an unknown code may be retried', () => {
  assert.equal(exitCodeOf('SOMETHING_NEW'), EXIT.failed);
});
