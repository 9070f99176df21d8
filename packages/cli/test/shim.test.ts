import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Terminal } from './support/terminal.ts';

const SHIM = fileURLToPath(new URL('../bin/moat.cjs', import.meta.url));
/** Makes a Node say that it is an old one. */
const PRETEND = "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } });";

test('a Node that is new enough runs the sources at once', () => {
  const ran = spawnSync(process.execPath, [SHIM, '--version'], { encoding: 'utf8' });
  assert.equal(ran.status, 0, ran.stderr);
  assert.match(ran.stdout, new RegExp(`^moat .* \\(node ${process.versions.node}\\)\n$`));
});

test('exit codes pass through', () => {
  const ran = spawnSync(process.execPath, [SHIM, 'no-such-verb'], { encoding: 'utf8' });
  assert.equal(ran.status, 2);
  assert.match(ran.stderr, /^✗ unknown command/);
});

test('an old Node without a newer one beside it says so and ends with 69', () => {
  using terminal = new Terminal();
  mkdirSync(terminal.path('bin'));
  copyFileSync(SHIM, terminal.path('bin', 'moat.cjs'));
  writeFileSync(terminal.path('pretend.cjs'), PRETEND);
  const args = ['--require', terminal.path('pretend.cjs'), terminal.path('bin', 'moat.cjs'), 'status'];
  const ran = spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, MOAT_REEXEC: '' } });
  assert.equal(ran.status, 69);
  assert.match(ran.stderr, /needs Node\.js 24\.18\.1 or newer; this is/);
  assert.match(ran.stderr, /Code {3}NODE_TOO_OLD/);
});

test('an old Node starts the pinned one', () => {
  using terminal = new Terminal();
  mkdirSync(terminal.path('bin'));
  mkdirSync(terminal.path('node_modules', '.bin'), { recursive: true });
  copyFileSync(SHIM, terminal.path('bin', 'moat.cjs'));
  writeFileSync(terminal.path('pretend.cjs'), PRETEND);
  const pinned = terminal.path('node_modules', '.bin', 'node');
  writeFileSync(pinned, '#!/bin/sh\necho "pinned $2 $MOAT_REEXEC"\nexit 5\n', { mode: 0o755 });
  const args = ['--require', terminal.path('pretend.cjs'), terminal.path('bin', 'moat.cjs'), 'status'];
  const ran = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(ran.status, 5, ran.stderr);
  assert.equal(ran.stdout, 'pinned status 1\n');
});
