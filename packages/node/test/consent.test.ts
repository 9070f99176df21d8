import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exposure } from '@moat/network';
import { Consent } from '../src/consent.ts';

const DEPLOYMENT = 'a'.repeat(26);
const target = '127.0.0.1:3000';
const held = { deployment: DEPLOYMENT, target, public: true };

interface Desk {
  readonly consent: Consent;
  /** What is on disk. */
  readonly rows: Map<string, Exposure>;
}

function open(): Desk {
  const rows = new Map<string, Exposure>();
  const consent = new Consent({
    store: {
      exposed: () => [...rows.values()],
      saveExposed: (line) => void rows.set(line.target, line),
      deleteExposed: (_, gone) => void rows.delete(gone),
    },
    ownSockets: () => [],
    onChanged: () => undefined,
  });
  return { consent, rows };
}

const isPublic = ({ consent }: Desk): boolean => consent.targets.isExposed(target, DEPLOYMENT, true);

test('what is held is in force until every holder has let go, and never on disk', () => {
  const desk = open();
  const first = desk.consent.hold(held);
  const second = desk.consent.hold({ ...held, target: '3000' });
  assert.equal(isPublic(desk), true);
  assert.equal(desk.rows.size, 0);
  first.release();
  first.release();
  assert.equal(isPublic(desk), true);
  second.release();
  assert.equal(isPublic(desk), false);
  assert.deepEqual(desk.consent.list(), []);
});

test('who holds less takes nothing from who holds more', () => {
  const desk = open();
  desk.consent.hold(held);
  const { release } = desk.consent.hold({ ...held, public: false });
  assert.equal(isPublic(desk), true);
  release();
  assert.equal(isPublic(desk), true);
});

test('a line on disk is there again afterwards, as it was', () => {
  const desk = open();
  desk.consent.add({ ...held, public: false });
  const { release } = desk.consent.hold(held);
  assert.equal(isPublic(desk), true);
  release();
  assert.deepEqual(desk.consent.list(), [{ ...held, public: false }]);

  desk.consent.add(held);
  desk.consent.hold(held).release();
  assert.equal(isPublic(desk), true, 'it said as much before');
});

test('what the operator says meanwhile goes before', () => {
  const desk = open();
  const { release } = desk.consent.hold(held);
  desk.consent.remove(DEPLOYMENT, target);
  assert.equal(isPublic(desk), false);
  release();
  assert.deepEqual(desk.consent.list(), []);

  const again = desk.consent.hold(held);
  desk.consent.add(held);
  again.release();
  assert.equal(isPublic(desk), true, 'kept since');
});
