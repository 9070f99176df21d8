/** Which of the machine's ways to WireGuard there is, and the port on it. */
import type { Tunnels } from '@moat/core';
import { createKernelBackend, hasKernelWireguard } from './backend.kernel.ts';
import { createUserspaceBackend } from './backend.userspace.ts';
import { failure } from './errors.ts';
import { MachineTunnels } from './machine.ts';
import { Records } from './records.ts';
import { RulesKeeper } from './rules-keeper.ts';
import { createTools, type Tools } from './tool.ts';

export interface MachineTunnelsOptions {
  /** Directory of ours alone, kept over restarts: what it says stands here is ours to remove. */
  readonly directory: string;
  /** Name or path of wireguard-go. @defaultValue `wireguard-go` on the PATH */
  readonly wireguardGo?: string;
  /** @defaultValue the kernel's where it has one, else wireguard-go */
  readonly backend?: 'kernel' | 'userspace';
}

/**
 * WireGuard interfaces of this machine. Nothing is changed yet, but the kernel is asked whether it knows WireGuard.
 * @throws `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN`
 */
export async function createMachineTunnels(options: MachineTunnelsOptions): Promise<Tunnels> {
  const { wireguardGo } = options;
  const tools = createTools(wireguardGo === undefined ? {} : { wireguardGo });
  for (const tool of ['wg', 'ip', 'nft'] as const) await tools.try({ tool, args: ['--version'] });
  const kernel = options.backend === undefined ? await hasKernelWireguard(tools) : options.backend === 'kernel';
  if (!kernel) await checkWireguardGo(tools);
  const backend = kernel ? createKernelBackend(tools) : createUserspaceBackend(tools);
  const { directory } = options;
  return new MachineTunnels({
    tools,
    backend,
    records: new Records({ directory }),
    keeper: new RulesKeeper({ directory }),
  });
}

async function checkWireguardGo(tools: Tools): Promise<void> {
  try {
    await tools.try({ tool: 'wireguard-go', args: ['--version'] });
  } catch (error) {
    const message =
      'this kernel has no WireGuard, and wireguard-go, which stands in for it, is not installed; ' +
      'Debian has it in the package wireguard-go (`apt-get install wireguard-go`)';
    throw failure('TUNNEL_TOOL_MISSING', message, { cause: error, details: { tool: 'wireguard-go' } });
  }
}
