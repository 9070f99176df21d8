/** The fourth pass: domains of gateways and anchors become pins that whoever signs has seen. */
import {
  peerIdOfMultiaddr,
  resolveOnline,
  type Contract,
  type GatewayPin,
  type OnlineResult,
  type PublishLine,
} from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Context } from '../context.ts';
import { invalidFile, type ReadDeploymentFile } from './deployment-file.ts';
import { askGateway } from './ask-gateway.ts';

const TIMEOUT_MS = 20_000;

/** What a domain became, for `buildContract`. */
export type Pins = Pick<OnlineResult, 'gateways' | 'anchors'>;

/**
 * Asks every domain that the current version has no pin for, and has the answers confirmed.
 * @throws `GATEWAY_UNRESOLVED`, `ANCHOR_UNRESOLVED`, `CONFIRMATION_NEEDED` without a terminal and `--yes`, `DECLINED`
 */
export async function resolvePins(context: Context, read: ReadDeploymentFile, current: Contract | null): Promise<Pins> {
  const { io, progress } = context;
  const signal = AbortSignal.any([io.signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const resolvers = {
    gateway: (domain: string): Promise<GatewayPin> => askGateway(context, domain, signal),
    anchor: async (host: string): Promise<readonly string[]> => (await askGateway(context, host, signal)).peers,
  };
  const asking = resolveOnline(resolvers, read, { fileName: read.fileName, current, signal });
  const { gateways, anchors, diagnostics } = await progress.during('asking gateways and anchors who they are', asking);
  const [failed] = diagnostics;
  if (failed !== undefined) throw unresolved(failed.code, invalidFile(read.fileName, diagnostics));
  await confirmPins(context, { gateways, anchors });
  return { gateways, anchors };
}

/** Not the file's fault, as far as we know: a retry may work. */
function unresolved(code: string, { message }: MoatError): MoatError {
  const [, ...lines] = message.split('\n');
  return new MoatError(code, lines.join('\n'), {
    next: ['check the domain, and that its gateway runs', 'or pin it in the file: gateway: { domain, peers }'],
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
