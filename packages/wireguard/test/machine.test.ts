import { createMachineTunnels, createMemoryTunnels } from '@moat/wireguard';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { testTunnels } from './compliance.ts';
import { machineSkip } from './skip.ts';

const memory = createMemoryTunnels();
testTunnels('memory', false, () => ({ open: async () => memory, namespace: null, name: 'moatc', port: 45_301 }));

const skip = machineSkip();
const namespace = `moatc${process.pid}`;
let directory = '';
before(() => {
  if (skip !== false) return;
  directory = mkdtempSync(join(tmpdir(), 'moat-tunnels-'));
  execFileSync('ip', ['netns', 'add', namespace]);
});
after(() => {
  if (skip !== false) return;
  execFileSync('ip', ['netns', 'del', namespace]);
  rmSync(directory, { recursive: true });
});
let count = 0;
testTunnels('machine', skip, () => {
  count += 1;
  return {
    open: () => createMachineTunnels({ directory }),
    namespace: `/run/netns/${namespace}`,
    name: `moatc${process.pid.toString(36)}n${count}`,
    port: 21_000 + count,
  };
});
