/** The kernel's backend by what it tells the tools: the machines of the tests have no such kernel. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createKernelBackend, hasKernelWireguard } from '../src/backend.kernel.ts';
import type { ToolResult, ToolRun, Tools } from '../src/tool.ts';

/** Tools that only note what they are told, as `namespace: command`. */
function noting(answer: (line: string) => string = () => ''): { readonly tools: Tools; readonly told: string[] } {
  const told: string[] = [];
  const attempt = async (run: ToolRun): Promise<ToolResult> => {
    const line = `${run.namespace ?? 'ours'}: ${[run.tool, ...run.args].join(' ')}`;
    told.push(line);
    const complaint = answer(line);
    return { ok: complaint === '', stdout: '', complaint };
  };
  return { tools: { try: attempt, run: async (run) => (await attempt(run)).stdout }, told };
}

test('an interface is made in our namespace, where its UDP socket stays, then moved', async () => {
  const { tools, told } = noting();
  const backend = createKernelBackend(tools);
  const place = { path: '/run/netns/web', id: '4:1' };
  await backend.create('moat0', place);
  assert.deepEqual(told, [
    'ours: ip link del dev moat0',
    'ours: ip link add dev moat0 type wireguard',
    'ours: ip link set dev moat0 netns /run/netns/web',
  ]);
  assert.equal(backend.wgNamespace(place), '/run/netns/web');
  told.length = 0;
  await backend.create('moat0', { path: null, id: '4:0' });
  assert.deepEqual(told, ['ours: ip link del dev moat0', 'ours: ip link add dev moat0 type wireguard']);
});

test('it is taken away wherever it may stand; where it is not, that is no error', async () => {
  const { tools, told } = noting((line) => (line.startsWith('ours') ? 'Cannot find device "moat0"' : ''));
  await createKernelBackend(tools).destroy('moat0', [
    { path: '/run/netns/web', id: '4:1' },
    { path: null, id: '4:0' },
  ]);
  assert.deepEqual(told, ['/run/netns/web: ip link del dev moat0', 'ours: ip link del dev moat0']);
  const busy = noting(() => 'RTNETLINK answers: Device or resource busy').tools;
  await assert.rejects(createKernelBackend(busy).destroy('moat0', [{ path: null, id: '4:0' }]), {
    code: 'TUNNEL_FAILED',
  });
});

test('a kernel is asked by making an interface, which goes again', async () => {
  const { tools, told } = noting();
  assert.equal(await hasKernelWireguard(tools), true);
  assert.match(told.join('\n'), /^ours: ip link add dev (moat[0-9a-f]{8}) type wireguard\nours: ip link del dev \1$/);
  assert.equal(await hasKernelWireguard(noting(() => 'Error: Unknown device type.').tools), false);
});
