import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { replaceTable } from '../src/nft.ts';
import { RulesGuard, type RulesGuardDeps } from '../src/rules-guard.ts';
import type { Tools } from '../src/tool.ts';

/** A guard whose watch ends at once. */
async function guarded(
  tools: Tools,
  until: Promise<unknown>,
  inTurn: RulesGuardDeps['inTurn'] = (_, work) => work(),
  then: (guard: RulesGuard) => void = () => undefined,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'moat-guard-'));
  writeFileSync(join(directory, 'setpriv'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const path = process.env['PATH'];
  process.env['PATH'] = directory;
  const guard = new RulesGuard({ tools, inTurn });
  // What the guard waits by keeps no process alive.
  const alive = setInterval(() => undefined, 1_000);
  try {
    guard.hold('moatx', { path: null, id: 'here' }, replaceTable('moatx', '', null));
    await until;
    then(guard);
  } finally {
    clearInterval(alive);
    guard.release('moatx');
    process.env['PATH'] = path;
    rmSync(directory, { recursive: true });
  }
}

test('where the watch itself ends, rules that are gone are put back all the same, each time', async () => {
  const put = Promise.withResolvers<undefined>();
  let puts = 0;
  const tools: Tools = {
    try: () => Promise.reject(new Error('nothing is to be tried')),
    run: ({ input }) => {
      if (input !== undefined) puts += 1;
      if (puts === 2) put.resolve(undefined);
      return Promise.resolve('{"nftables":[]}');
    },
  };
  await guarded(tools, put.promise);
});

test('rules that somebody looks for after they went are not looked for again', async () => {
  const runs: string[] = [];
  const tools: Tools = {
    try: () => Promise.reject(new Error('nothing is to be tried')),
    run: ({ tool }) => Promise.resolve(String(runs.push(tool))),
  };
  const turns: (() => Promise<void>)[] = [];
  const told = Promise.withResolvers<undefined>();
  const inTurn = (_: string, work: () => Promise<void>): Promise<void> => {
    turns.push(work);
    told.resolve(undefined);
    return Promise.resolve();
  };
  await guarded(tools, told.promise, inTurn, (guard) => guard.looks('moatx'));
  for (const turn of turns) await turn();
  assert.deepEqual(runs, []);
});

test('rules that cannot be put back leave the interface down', async () => {
  const down = Promise.withResolvers<string | undefined>();
  const tools: Tools = {
    try: ({ input }) => {
      down.resolve(input);
      return Promise.resolve({ ok: true, stdout: '', complaint: '' });
    },
    run: () => Promise.reject(new Error('nft is broken')),
  };
  await guarded(
    tools,
    down.promise.then((input) => assert.equal(input, 'link set dev moatx down\n')),
  );
});
