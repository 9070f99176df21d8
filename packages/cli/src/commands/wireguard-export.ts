/** `moat wireguard export`: a profile for a device with stock WireGuard, shown once. */
import { buildView, deviceProfileOf, isTarget, wgQuickText, type DeploymentFile } from '@moat/contract';
import { MoatError } from '@moat/core';
import { createWireguardKey } from '@moat/identity';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { changeByVerb } from '../deployment/change-by-verb.ts';
import { fileOf } from '../deployment/next-version.ts';
import { NETWORK_OPTION, lookAtDeployment, selectDeployment, type SeenDeployment } from '../deployment/select.ts';
import { proposedOutcome } from '../output/proposal.ts';
import { drawQr } from '../output/qr.ts';
import { loadAsOwner, openOnce } from '../owner/as-owner.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { readOwnerPublicKey } from '../owner/public-key.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface ExportOptions extends OwnerOptions {
  readonly network?: string;
  readonly via?: string;
  readonly endpoint?: string;
  readonly qr?: boolean;
}

export function addWireguardExport(wireguard: Command, runner: VerbRunner): void {
  addVerb<ExportOptions>(
    wireguard,
    runner,
    {
      usage: 'export <member>',
      summary: 'a profile for a phone, router or wg-quick; its key is shown once and kept nowhere',
      examples: [
        ['moat wireguard export phone --endpoint web.example.com:51820 --qr', 'to scan with the WireGuard app'],
        ['moat wireguard export router --endpoint web.example.com:51820 > moat.conf', 'for wg-quick'],
        [
          'moat wireguard export phone --via web-2 --endpoint 203.0.113.7:51820',
          'connects to another member from now on',
        ],
      ],
      options: [
        { flags: '--via <member>', text: 'the member it connects to; also makes a vacant place a device' },
        { flags: '--endpoint <address>', text: 'HOST:PORT at which the device finds that member’s WireGuard' },
        { flags: '--qr', text: 'draw it as a QR code instead' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    exportDevice,
  );
}

async function exportDevice(
  context: Context,
  [member = '']: readonly string[],
  options: ExportOptions,
): Promise<Outcome> {
  const { agent, io, progress, style } = context;
  const id = await selectDeployment(agent, options.network);
  const open = openOnce(() => openOwner(context, options));
  await using owned = await loadAsOwner(context, lookAtDeployment, id, open);
  const { current } = owned;
  const file = withDevice(current, member, options.via);
  const key = createWireguardKey();
  // As the contract will be, so that nothing is signed for a profile that cannot work.
  const { contract, claims } = current;
  const via = file.members.find(({ name }) => name === member)?.via;
  const members = contract.members.map((one) =>
    one.name === member && via !== undefined ? { ...one, via, wireguard: key.publicKey } : one,
  );
  const now = io.now();
  const profile = deviceProfileOf(buildView({ ...contract, members }, claims, now), member, now);
  const endpoint = await endpointOf(context, id, profile.via, options.endpoint);
  const text = wgQuickText(profile, key.export(), endpoint);
  const shown = options.qr === true ? drawQr(text) : text.trimEnd();

  const owner = { key: await readOwnerPublicKey(context, options), open };
  const deviceKeys = new Map([[member, key.publicKey]]);
  const submitted = await changeByVerb(context, owner, { current, file, deviceKeys });
  const before = contract.members.find(({ name }) => name === member);
  const replaced = before?.via !== undefined && before.wireguard !== undefined;
  if (replaced) progress.say(`${style.attention} the profile made before for ${member} works no longer`);
  if (profile.allowedIps.length === 0) progress.say(`${style.attention} nothing is granted to ${member} yet`);
  if (submitted?.state === 'waiting') {
    progress.say(proposedOutcome(style, submitted.waiting, contract, null).text ?? '');
    progress.say(`${style.attention} the profile works once they have signed`);
  }
  progress.say(
    `${style.ok} ${style.bold(member)} connects to ${profile.via}. This is shown once: whoever has it is ${member}.`,
  );
  const { services, allowedIps } = profile;
  const data = {
    member,
    via: profile.via,
    endpoint,
    publicKey: key.publicKey,
    replaced,
    allowedIps,
    services,
    profile: text,
  };
  return { kind: 'wireguard-profile', data, text: shown };
}

/** @throws `MEMBER_UNKNOWN`, `DEVICE_UNFIT` */
function withDevice(current: SeenDeployment, member: string, via: string | undefined): DeploymentFile {
  const file = fileOf(current);
  const { contract, detail } = current;
  const written = file.members.find(({ name }) => name === member);
  if (written === undefined) {
    throw new MoatError('MEMBER_UNKNOWN', `${contract.name} has no member ${member}`, {
      next: [`add ${member}: { via: MEMBER } to members in moat.yaml, with an access line, and run moat apply`],
    });
  }
  if (via === undefined || via === written.via) return file;
  const place = detail.places.find(({ name }) => name === member);
  if (written.via === undefined && place?.state !== 'vacant') {
    throw new MoatError('DEVICE_UNFIT', `${member} cannot be used as a device`, {
      reason: `the place is ${place?.state ?? 'unknown'}: only a vacant one can become a device's`,
    });
  }
  return { ...file, members: file.members.map((one) => (one === written ? { ...one, via } : one)) };
}

/**
 * As said, else where this machine reaches the member directly, or is reached itself.
 * @throws `USAGE`, `DEVICE_ENDPOINT_NEEDED`
 */
async function endpointOf(context: Context, id: string, via: string, given: string | undefined): Promise<string> {
  if (given !== undefined) {
    if (isTarget(given)) return given;
    throw new MoatError('USAGE', `--endpoint ${given} is not HOST:PORT`);
  }
  const { member: self, state, peers } = await context.agent.wireguard(id);
  const direct = peers.find(({ member, path }) => member === via && path === 'direct')?.endpoint;
  const found = self === via && state === 'up' ? await ownEndpoint(context, id) : direct;
  if (found !== undefined && found !== null) return found;
  throw new MoatError('DEVICE_ENDPOINT_NEEDED', `where a device finds the WireGuard of ${via} is not known here`, {
    reason: 'a device has no agent that could look for it',
    next: ['--endpoint HOST:PORT   a UDP port that leads to that machine; moat wireguard status there shows its port'],
  });
}

/** Where anybody finds this machine: as anchors see it with no router before it, or at a port that the router leads here. */
async function ownEndpoint({ agent, progress }: Context, id: string): Promise<string | null> {
  const { nat, anchors, mapped } = await progress.during('asking the anchors', agent.netcheck(id));
  return nat === 'none' ? (anchors.find(({ seen }) => seen !== null)?.seen ?? null) : mapped;
}
