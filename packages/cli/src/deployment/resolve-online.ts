/** The fourth pass: domains of gateways and anchors become pins that whoever signs has seen. */
import {
  formatDiagnostic,
  peerIdOfMultiaddr,
  resolveOnline,
  type Contract,
  type GatewayPin,
  type OnlineResult,
  type PublishLine,
} from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Context } from '../context.ts';
import type { ReadDeploymentFile } from './deployment-file.ts';
import { askGateway } from './ask-gateway.ts';
import { followGateways } from './follow-gateways.ts';

const TIMEOUT_MS = 20_000;

/** In place of a file's name, where words of the command line made the lines. */
export const COMMAND_LINE = 'command line';

/** What domains and files became, for `buildContract`. */
export type Pins = Pick<OnlineResult, 'gateways' | 'anchors'> & Pick<ReadDeploymentFile, 'secrets'>;

export interface ResolveOptions {
  /** Where to ask for a domain that does not answer on port 443: domain to `host:port`. */
  readonly askAt?: ReadonlyMap<string, string>;
}

/**
 * Asks every domain that the current version has no pin for, and has the answers confirmed.
 * @throws `GATEWAY_UNRESOLVED`, `ANCHOR_UNRESOLVED`, `CONFIRMATION_NEEDED` without a terminal and `--yes`, `DECLINED`
 */
export async function resolvePins(
  context: Context,
  read: ReadDeploymentFile,
  current: Contract | null,
  { askAt }: ResolveOptions = {},
): Promise<Pins> {
  const { io, progress } = context;
  const signal = AbortSignal.any([io.signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const resolvers = {
    gateway: (domain: string): Promise<GatewayPin> => askGateway(context, askAt?.get(domain) ?? domain, signal),
    anchor: async (host: string): Promise<readonly string[]> => (await askGateway(context, host, signal)).peers,
  };
  const asking = resolveOnline(resolvers, read, { fileName: read.fileName, current, signal });
  const { gateways, anchors, diagnostics } = await progress.during('asking gateways and anchors who they are', asking);
  const [failed] = diagnostics;
  if (failed !== undefined) throw unresolved(failed.code, read.fileName, diagnostics);
  await confirmPins(context, { gateways, anchors });
  const followed = await followGateways(context, read.file, current, askAt);
  const pins = { gateways: new Map([...followed, ...gateways]), anchors };
  return { ...pins, ...(read.secrets === undefined ? {} : { secrets: read.secrets }) };
}

/** Not the file's fault, as far as we know: a retry may work. */
function unresolved(code: string, fileName: string, diagnostics: OnlineResult['diagnostics']): MoatError {
  const typed = fileName === COMMAND_LINE;
  const lines = diagnostics.map((found) => (typed ? found.message : formatDiagnostic(found)));
  const failed = new Set(diagnostics.map((found) => found.code));
  return new MoatError(code, lines.join('\n'), {
    reason: 'a gateway is asked once who it is, and its answer is pinned; nothing was changed',
    next: [
      'check the domain, and that its gateway runs',
      ...(failed.has('GATEWAY_UNRESOLVED')
        ? [
            'a gateway on another port: moat publish SERVICE --gateway HOST:PORT',
            'or pin it in the file: gateway: { domain, peers }, as https://DOMAIN/.well-known/moat says',
          ]
        : []),
      ...(failed.has('ANCHOR_UNRESOLVED')
        ? ['an anchor without a gateway: its address, /ip4/…/tcp/4410/p2p/…, as moat node status there shows it']
        : []),
    ],
    retryable: true,
  });
}

async function confirmPins({ prompt, style }: Context, { gateways, anchors }: Pins): Promise<void> {
  const facts = [
    ...[...gateways.values()].flatMap(({ domain, peers }) => [`gateway ${style.bold(domain)}`, ...peers.map(peerLine)]),
    ...[...anchors].flatMap(([host, peers]) => [`anchor ${style.bold(host)}`, ...peers.map(peerLine)]),
  ];
  if (facts.length > 0) await prompt.confirm('Pin these identities?', facts);
}

function peerLine(address: PublishLine['gateway']['peers'][number]): string {
  return `  ${peerIdOfMultiaddr(address)}  ${address}`;
}
