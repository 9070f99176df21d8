/** Steps of a plan as runs of the machine's tools: neighbours of one kind share a run, in their order. */
import { addAddress, addRoute, ipBatch, removeAddress, removeRoute } from './ip.ts';
import { replaceTable } from './nft.ts';
import type { Step } from './plan.ts';
import { writeSettings } from './sysctl.ts';
import type { ToolRun, Tools } from './tool.ts';
import { removePeers, setPeers, setPort, setPrivateKey, takeAllowedIps } from './wg.ts';

export interface StepContext {
  readonly tools: Tools;
  readonly name: string;
  /** Where the interface stands. */
  readonly namespace: string | null;
  /** Where `wg` finds it. */
  readonly wgNamespace: string | null;
  /** Makes the interface, down and in its namespace. */
  readonly create: () => Promise<void>;
}

/** Does the steps in their order. @throws what the first that failed did. */
export async function doSteps(steps: readonly Step[], context: StepContext): Promise<void> {
  for (const group of groups(steps)) {
    if (group[0]?.do === 'create') await context.create();
    else for (const run of runsOf(group, context)) await context.tools.run(run);
  }
}

type Only<D extends Step['do']> = Extract<Step, { readonly do: D }>;

function groups(steps: readonly Step[]): Step[][] {
  const made: Step[][] = [];
  for (const step of steps) {
    const last = made.at(-1);
    if (last?.[0]?.do === step.do) last.push(step);
    else made.push([step]);
  }
  return made;
}

function runsOf(group: readonly Step[], { name, namespace, wgNamespace }: StepContext): readonly ToolRun[] {
  const all = <D extends Step['do']>(what: D): Only<D>[] =>
    group.filter((step): step is Only<D> => (step.do as string) === what);
  const wg = (runs: readonly ToolRun[]): ToolRun[] => runs.map((run) => ({ ...run, namespace: wgNamespace }));
  const ip = (lines: readonly string[]): ToolRun[] => [ipBatch(lines, namespace)];
  const [first] = group;
  switch (first?.do) {
    case 'remove-peer':
      return wg(
        removePeers(
          name,
          all('remove-peer').map(({ publicKey }) => publicKey),
        ),
      );
    case 'take-allowed-ip':
      return wg(
        takeAllowedIps(
          name,
          all('take-allowed-ip').map(({ cidr }) => cidr),
        ),
      );
    case 'add-peer':
      return wg(setPeers(name, all('add-peer')));
    case 'give-allowed-ips':
      return wg(setPeers(name, all('give-allowed-ips')));
    case 'remove-route':
      return ip(all('remove-route').map(({ route }) => removeRoute(name, route)));
    case 'add-route':
      return ip(all('add-route').map(({ route }) => addRoute(name, route)));
    case 'remove-address':
      return ip(all('remove-address').map(({ address }) => removeAddress(name, address)));
    case 'add-address':
      return ip(all('add-address').map(({ address }) => addAddress(name, address)));
    case 'setting':
      return [writeSettings(new Map(all('setting').map(({ key, value }) => [key, value])), namespace)];
    case 'rules':
      return [replaceTable(name, first.chains, namespace)];
    case 'key':
      return wg([setPrivateKey(name, first.privateKey)]);
    case 'port':
      return wg([setPort(name, first.port)]);
    case 'mtu':
      return ip([`link set dev ${name} mtu ${first.mtu}`]);
    case 'up':
      return ip([`link set dev ${name} up`]);
    case 'create':
    case undefined:
    default:
      return [];
  }
}
