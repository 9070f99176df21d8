/** What is left open when the machine's tools fail in the middle: nothing. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
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

async function applyWhere(nft: () => ToolResult): Promise<readonly ToolRun[]> {
  const directory = mkdtempSync(join(tmpdir(), 'moat-closing-'));
  const { tools, runs } = toolsWhere(nft);
  const none = (): Promise<void> => Promise.resolve();
  const backend = { kind: 'kernel', wgNamespace: () => null, create: none, destroy: none } as const;
  const tunnels = new MachineTunnels({ tools, backend, records: new Records({ directory }) });
  const { privateKey } = createWireguardKey();
  const spec = { namespace: null, port: 45_399, mtu: 1420, addresses: [], routes: [], peers: [] };
  try {
    await assert.rejects(tunnels.apply({ ...spec, name: 'moatx', privateKey, rules: { chains: '' } }));
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
