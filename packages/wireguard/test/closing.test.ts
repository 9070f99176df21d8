/** What an interface never does to its machine, also when tools fail in the middle. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TunnelSpec } from '@moat/core';
import { failure } from '../src/errors.ts';
import { createWireguardKey } from '../src/index.ts';
import { MachineTunnels } from '../src/machine.ts';
import { Records } from '../src/records.ts';
import type { ToolResult, ToolRun, Tools } from '../src/tool.ts';

const OK: ToolResult = { ok: true, stdout: '', complaint: '' };
const NONE: ToolResult = { ok: false, stdout: '', complaint: 'Device "moatx" does not exist.' };

function toolsWhere(nft: () => ToolResult): { readonly tools: Tools; readonly runs: ToolRun[] } {
  const runs: ToolRun[] = [];
  // An async function: what is thrown rejects, as with the real ones.
  const attempt = async (run: ToolRun): Promise<ToolResult> => {
    runs.push(run);
    if (run.tool === 'nft') return nft();
    return Promise.resolve(run.args[0] === '-j' ? NONE : OK);
  };
  return { runs, tools: { try: attempt, run: async (run) => (await attempt(run)).stdout } };
}

async function applyWhere(nft: () => ToolResult, change: Partial<TunnelSpec> = {}): Promise<readonly ToolRun[]> {
  const directory = mkdtempSync(join(tmpdir(), 'moat-closing-'));
  const { tools, runs } = toolsWhere(nft);
  const none = (): Promise<void> => Promise.resolve();
  const backend = { kind: 'kernel', wgNamespace: () => null, create: none, destroy: none } as const;
  const keeper = { keep: none, end: none };
  const tunnels = new MachineTunnels({ tools, backend, records: new Records({ directory }), keeper });
  const { privateKey } = createWireguardKey();
  const spec = { namespace: null, port: 45_399, mtu: 1420, addresses: [], routes: [], peers: [] };
  try {
    // The tools of this test say that no rules stand.
    await assert.rejects(tunnels.apply({ ...spec, name: 'moatx', privateKey, rules: { chains: '' }, ...change }));
  } finally {
    rmSync(directory, { recursive: true });
  }
  return runs;
}

for (const [what, nft] of [
  [
    'is gone',
    () => {
      throw failure('TUNNEL_TOOL_MISSING', 'nft is not installed');
    },
  ],
  ['fails', () => ({ ok: false, stdout: '', complaint: 'Error: Could not process rule' })],
] as const) {
  test(`where nft ${what}, an interface that stands is taken down`, async () => {
    const runs = await applyWhere(nft);
    assert.deepEqual([runs.at(-1)?.tool, runs.at(-1)?.input], ['ip', 'link set dev moatx down\n']);
  });
}

test("a default route is not the agent's own namespace's", async () => {
  const nft = (): ToolResult => ({ ok: true, stdout: '{"nftables":[]}', complaint: '' });
  const runs = await applyWhere(nft, { routes: ['10.77.0.0/16', '0.0.0.0/0', '::/0'] });
  const routes = runs.flatMap(({ input = '' }) => input.split('\n')).filter((line) => line.startsWith('route add '));
  assert.deepEqual(routes, ['route add 10.77.0.0/16 dev moatx']);
});
