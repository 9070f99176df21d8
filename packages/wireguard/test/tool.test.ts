import { isMoatError } from '@moat/core';
import { createMachineTunnels } from '@moat/wireguard';
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createTools, toolFailure, type ToolRun } from '../src/tool.ts';
import { changePeer, setPrivateKey, startProbe } from '../src/wg.ts';
import { createWireguardKey } from '../src/keys.ts';

/** Runs `body` with these programs, and no others, on the PATH. */
async function withPrograms(programs: Record<string, string>, body: () => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'moat-tools-'));
  for (const [name, script] of Object.entries(programs)) {
    writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(directory, name), 0o755);
  }
  const path = process.env['PATH'];
  process.env['PATH'] = directory;
  try {
    await body();
  } finally {
    process.env['PATH'] = path;
    rmSync(directory, { recursive: true });
  }
}

test('a missing tool is named with its Debian package', async () => {
  await withPrograms({ ip: 'exit 0', wg: 'exit 0' }, async () => {
    await assert.rejects(createMachineTunnels({ directory: '/nowhere' }), (error) => {
      assert.ok(isMoatError(error, 'TUNNEL_TOOL_MISSING') && error.message.includes('apt-get install nftables'));
      return true;
    });
  });
});

test('neither a kernel that knows WireGuard nor wireguard-go', async () => {
  const ip = 'case "$1" in link) echo "Error: Unknown device type." >&2; exit 2;; esac';
  await withPrograms({ ip, wg: 'exit 0', nft: 'exit 0' }, async () => {
    await assert.rejects(createMachineTunnels({ directory: '/nowhere' }), (error) => {
      assert.ok(isMoatError(error, 'TUNNEL_TOOL_MISSING') && error.message.includes('apt-get install wireguard-go'));
      return true;
    });
  });
});

test('a process that may not change the network is told so', async () => {
  const ip = 'case "$1" in link) echo "RTNETLINK answers: Operation not permitted" >&2; exit 2;; esac';
  await withPrograms({ ip, wg: 'exit 0', nft: 'exit 0' }, async () => {
    await assert.rejects(createMachineTunnels({ directory: '/nowhere' }), (error) =>
      isMoatError(error, 'TUNNEL_FORBIDDEN'),
    );
  });
});

test('tools get nothing of our environment', async () => {
  process.env['MOAT_TEST_SECRET'] = 'hidden';
  try {
    await withPrograms({ wg: 'set' }, async () => {
      assert.doesNotMatch(await createTools().run({ tool: 'wg', args: [] }), /hidden/);
    });
  } finally {
    delete process.env['MOAT_TEST_SECRET'];
  }
});

test('a secret is in no argument, and in no error', async () => {
  const { privateKey, publicKey } = createWireguardKey();
  const runs: ToolRun[] = [
    setPrivateKey('moat0', privateKey),
    changePeer('moat0', publicKey, { presharedKey: privateKey, keepaliveSeconds: 5 }),
    startProbe('moat0', publicKey, { host: '::1', port: 5 }),
  ];
  for (const run of runs) {
    assert.ok(!run.args.join(' ').includes(privateKey));
    const failure = toolFailure(run, { ok: false, stdout: privateKey, complaint: 'refused' });
    assert.ok(!`${failure.message}${JSON.stringify(failure)}`.includes(privateKey));
  }
  const path = process.env['PATH'] ?? '';
  await withPrograms(
    {
      wg: `PATH=${path}; echo "Key is not the correct length: $(cat)" >&2; exit 1`,
      sh: `PATH=${path}; exec /bin/sh "$@"`,
      cat: 'exec /bin/cat',
    },
    async () => {
      await assert.rejects(createTools().run(setPrivateKey('moat0', privateKey)), (error) => {
        assert.ok(
          isMoatError(error, 'TUNNEL_FAILED') &&
            !error.message.includes(privateKey) &&
            error.message.includes('refused'),
        );
        return true;
      });
    },
  );
});
