/** An interface as it stands, read from the machine's tools. */
import { isNoDevice, parseIpLink, parseIpRoutes, showLink, showLinkAndRoutes } from './ip.ts';
import { parseNftMarks, showMarks } from './nft.ts';
import type { Standing } from './plan.ts';
import { readSettings } from './sysctl.ts';
import { toolFailure, type ToolRun, type Tools } from './tool.ts';
import { parseWgDump, showDump } from './wg.ts';

/** Where an interface and its rules are looked for. */
export interface Where {
  readonly name: string;
  readonly namespace: string | null;
  readonly wgNamespace: string | null;
}

/** Null when there is no such interface. @throws `TUNNEL_FAILED`, `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN` */
export async function readStanding(
  tools: Tools,
  where: Where,
  settingKeys: readonly string[],
): Promise<Standing | null> {
  const { name, namespace, wgNamespace } = where;
  const shown = await showIfThere(tools, showLinkAndRoutes(name, namespace));
  if (shown === null) return null;
  const [dump, marks, settings] = await Promise.all([
    tools.run({ ...showDump(name), namespace: wgNamespace }),
    tools.run(showMarks(namespace)),
    readSettings(tools, settingKeys, namespace),
  ]);
  const [link = '', routes = ''] = shown.split('\n');
  const { privateKey, port, peers } = parseWgDump(dump);
  const { up, mtu, addresses } = parseIpLink(link);
  return {
    up,
    mtu,
    addresses,
    privateKey,
    port,
    peers,
    routes: parseIpRoutes(routes),
    settings,
    rules: parseNftMarks(marks).get(name) ?? null,
  };
}

/** True when the interface or its table is there. */
export async function stands(tools: Tools, name: string, namespace: string | null): Promise<boolean> {
  if (await isThere(tools, name, namespace)) return true;
  return parseNftMarks(await tools.run(showMarks(namespace))).has(name);
}

/** True when there is an interface of this name. */
export async function isThere(tools: Tools, name: string, namespace: string | null): Promise<boolean> {
  return (await showIfThere(tools, showLink(name, namespace))) !== null;
}

async function showIfThere(tools: Tools, run: ToolRun): Promise<string | null> {
  const shown = await tools.try(run);
  if (shown.ok) return shown.stdout;
  if (isNoDevice(shown.complaint)) return null;
  throw toolFailure(run, shown);
}
