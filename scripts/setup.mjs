/**
 * Makes a fresh clone ready; runs before `npm start` and `npm test` with whatever Node is there (>= 18), so it has no
 * dependencies.
 *   1. A Node older than the floor: install the pinned one of tools/node from the npm registry (locked, with integrity).
 *   2. node_modules not made from this package-lock.json: `npm ci`, run by the new Node.
 *   3. Link that Node as node_modules/.bin/node, which npm puts first on the PATH of its scripts.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FLOOR = [24, 18, 1];
const STALE_LOCK_MS = 600_000;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const toolDir = join(root, 'tools', 'node');
const toolBin = join(toolDir, 'node_modules', '.bin');
const toolNode = join(toolBin, 'node');
const lockDir = join(root, '.setup.lock');

const tooOld = isOlder(process.versions.node.split('.').map(Number), FLOOR);
const toolMissing = tooOld && !isInstalled(toolDir);
if (toolMissing || !isInstalled(root)) {
  takeLock();
  process.on('exit', () => rmSync(lockDir, { recursive: true, force: true }));
  if (tooOld && !isInstalled(toolDir)) installNode();
  if (!isInstalled(root)) {
    say('installing dependencies (once)');
    npmCi(tooOld ? toolNode : process.execPath, root);
    markInstalled(root);
  }
}
if (tooOld) linkNode();

function installNode() {
  say(`Node ${process.versions.node} is older than ${FLOOR.join('.')}: installing a pinned one (once, about 50 MB)`);
  npmCi(process.execPath, toolDir);
  if (!existsSync(toolNode) || spawnSync(toolNode, ['--version']).status !== 0) {
    fail(
      `there is no usable Node package for ${process.platform}-${process.arch}`,
      `install Node ${FLOOR.join('.')} or newer (https://nodejs.org) and run the same command again`,
      69,
    );
  }
  markInstalled(toolDir);
}

function npmCi(node, cwd) {
  const env = {};
  // What npm set for the outer script would make the inner npm work in the wrong folder.
  for (const [key, value] of Object.entries(process.env)) {
    if (!/^npm_(package|lifecycle|config_local_prefix)/.test(key)) env[key] = value;
  }
  if (node === toolNode) env.PATH = `${toolBin}${delimiter}${env.PATH}`;
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const cli = process.env.npm_execpath;
  const options = { cwd, env, stdio: ['ignore', 2, 2] };
  const run = /\.[cm]?js$/.test(cli ?? '') ? spawnSync(node, [cli, ...args], options) : spawnSync('npm', args, options);
  if (run.status !== 0) {
    fail(
      `npm ci failed in ${cwd} (exit ${run.status ?? run.error?.message})`,
      'read the npm messages above, then run the same command again',
      1,
    );
  }
}

function linkNode() {
  const link = join(root, 'node_modules', '.bin', 'node');
  if (existsSync(link)) return;
  rmSync(link, { force: true });
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(toolNode, link);
}

/** Two commands started together must not both run `npm ci`. */
function takeLock() {
  for (let attempt = 0; ; attempt++) {
    try {
      mkdirSync(lockDir);
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (attempt === 0) say('another command is installing; waiting for it');
    if (ageMs(lockDir) > STALE_LOCK_MS) rmSync(lockDir, { recursive: true, force: true });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  }
}

function ageMs(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function isInstalled(dir) {
  try {
    return readFileSync(join(dir, 'node_modules', '.setup-stamp'), 'utf8') === stampOf(dir);
  } catch {
    return false;
  }
}

function markInstalled(dir) {
  mkdirSync(join(dir, 'node_modules'), { recursive: true });
  writeFileSync(join(dir, 'node_modules', '.setup-stamp'), stampOf(dir));
}

function stampOf(dir) {
  const lock = readFileSync(join(dir, 'package-lock.json'));
  return createHash('sha256').update(lock).update(`${process.platform}-${process.arch}`).digest('hex');
}

function isOlder(have, want) {
  for (let i = 0; i < want.length; i++) if (have[i] !== want[i]) return have[i] < want[i];
  return false;
}

function say(message) {
  process.stderr.write(`setup: ${message}\n`);
}

function fail(what, next, code) {
  process.stderr.write(`✗ ${what}\n  Next   ${next}\n`);
  rmSync(lockDir, { recursive: true, force: true });
  process.exit(code);
}
