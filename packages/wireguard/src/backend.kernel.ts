/** The kernel's own WireGuard: as fast as the machine, nothing to watch over. */
import { randomBytes } from 'node:crypto';
import { toolFailure, type ToolRun, type Tools } from './tool.ts';
import { isNoDevice } from './ip.ts';
import type { Backend } from './backend.ts';
import type { Place } from './namespace.ts';

/** The UDP socket stays in the namespace in which the interface was made, wherever that goes. */
export function createKernelBackend(tools: Tools): Backend {
  return {
    kind: 'kernel',
    wgNamespace: (place) => place.path,
    async create(name, place) {
      await removeLink(tools, name, null);
      await tools.run({ tool: 'ip', args: ['link', 'add', 'dev', name, 'type', 'wireguard'] });
      await moveLink(tools, name, place);
    },
    async destroy(name, places) {
      for (const { path } of places) await removeLink(tools, name, path);
    },
  };
}

/** True when this kernel makes WireGuard interfaces; it loads its module for that. @throws `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN` */
export async function hasKernelWireguard(tools: Tools): Promise<boolean> {
  const name = `moat${randomBytes(4).toString('hex')}`;
  const made = await tools.try({ tool: 'ip', args: ['link', 'add', 'dev', name, 'type', 'wireguard'] });
  if (made.ok) await removeLink(tools, name, null);
  return made.ok;
}

/** Moves an interface that was made in our namespace; it is down afterwards. */
export async function moveLink(tools: Tools, name: string, place: Place): Promise<void> {
  if (place.path === null) return;
  await tools.run({ tool: 'ip', args: ['link', 'set', 'dev', name, 'netns', place.path] });
}

/** Removes an interface; one that is not there is no error. */
export async function removeLink(tools: Tools, name: string, namespace: string | null): Promise<void> {
  const run: ToolRun = { tool: 'ip', args: ['link', 'del', 'dev', name], namespace };
  const removed = await tools.try(run);
  if (!removed.ok && !isNoDevice(removed.complaint)) throw toolFailure(run, removed);
}
