/** `moat publish 3000`: a public address for a port of this machine, without a file. */
import type { VersionAccepted } from '@moat/admin-api';
import type { DeploymentFile } from '@moat/contract';
import { errorCode, isLabel, MoatError } from '@moat/core';
import type { Context } from '../context.ts';
import { changeByVerb } from '../deployment/change-by-verb.ts';
import { chooseGateway, domainOf, type ChosenGateway } from '../deployment/gateway-choice.ts';
import { findHome, homeOwner, HOME_NAME, type Home, type HomeOwner } from '../deployment/home.ts';
import { fileOf } from '../deployment/next-version.ts';
import { askedName } from '../deployment/own-host.ts';
import { loadDeployment } from '../deployment/select.ts';
import { requireAccepted } from '../deployment/submit.ts';
import { waitUntilApplied } from '../deployment/wait-applied.ts';
import { withConsent } from '../output/publication.ts';
import { errorBody } from '../output/render-error.ts';
import type { OwnerOptions } from '../owner/open-owner.ts';
import { holdConsent } from '../process/hold-consent.ts';
import { untilInterrupted } from '../process/interrupted.ts';
import { tryAddress } from '../process/try-address.ts';
import type { Outcome } from '../verb.ts';

export interface PublishPortOptions extends OwnerOptions {
  readonly name?: string;
  readonly host?: string;
  readonly gateway?: string;
  readonly network?: string;
  readonly bg?: boolean;
  readonly codeFile?: string;
}

const LIVE_TIMEOUT_MS = 30_000;
/** What an orderly end may take. */
const END_TIMEOUT_MS = 10_000;

/** One port under one name at one gateway. */
interface Wanted {
  readonly target: string;
  readonly service: string;
  readonly name: string;
  readonly gateway: ChosenGateway;
  /** What is to run. */
  readonly file: DeploymentFile;
}

/** What was changed for it, to be taken back on Ctrl-C. */
interface Done {
  readonly deployment: string;
  readonly serviceAdded: boolean;
}

/**
 * Published until Ctrl-C, or kept with `--bg`.
 * @throws `NO_GATEWAY`, `AGENT_NOT_RUNNING`, `NAME_HELD`, `TARGET_OWN` and what a version or a gateway is refused with.
 */
export async function publishPort(context: Context, port: number, options: PublishPortOptions): Promise<Outcome> {
  requirePort(port);
  const asked = askedName(options);
  const owner = await homeOwner(context, options);
  const home = await findHome(context, owner.key, options.network);
  const gateway = await chooseGateway(context, options.gateway, home.current);
  const wanted = wantedOf(home, port, gateway, asked);
  const submitted = await changeByVerb(context, owner, {
    ...home,
    file: wanted.file,
    askAt: gateway.askAt,
    atOnce: true,
    code: { file: options.codeFile, domain: gateway.domain },
  });
  const accepted = submitted === undefined ? undefined : requireAccepted(submitted);
  if (home.current === null) tellNewHome(context, home);

  const serviceAdded = home.file.services.every(({ name }) => name !== wanted.service);
  if (options.bg === true) {
    await context.agent.expose({ deployment: home.id, target: wanted.target, public: true });
    return outcomeOf(context, wanted, home, accepted, options);
  }
  const over = new AbortController();
  let isOver = false;
  try {
    await holdConsent(context, { deployment: home.id, target: wanted.target, public: true }, over.signal);
    const outcome = await outcomeOf(context, wanted, home, accepted, options);
    say(context, outcome);
    await untilInterrupted(context.io.signal);
    isOver = true;
  } finally {
    const withdrawn = await takeBack(context, owner, wanted, { deployment: home.id, serviceAdded });
    over.abort();
    // A name that never came about is nothing to report on.
    if (isOver || context.io.signal.aborted) say(context, withdrawn);
  }
  return { kind: 'withdrawn', data: {}, silent: true };
}

function wantedOf(home: Home, port: number, gateway: ChosenGateway, asked: string | undefined): Wanted {
  const target = `127.0.0.1:${port}`;
  const { services, publish } = home.file;
  const offered = services.find(
    (one) => one.target === target && one.protocol === 'http' && one.on.length === 1 && one.on[0] === home.member,
  );
  const free = [`web-${port}`, `web-${port}-${home.member}`].find((name) => services.every((one) => one.name !== name));
  const service = offered?.name ?? free;
  if (service === undefined) {
    throw new MoatError('NAME_TAKEN', `${home.file.name} has other services called web-${port}`, {
      next: ['publish one of them by its name: moat publish SERVICE'],
    });
  }
  // Part of the id, so that two people who publish port 3000 at one gateway do not meet.
  const name = asked ?? `${service}-${home.id.slice(0, 6)}`;
  if (!isLabel(name) && !name.includes('.')) {
    throw new MoatError('USAGE', `"${name}" cannot be a public name`, {
      reason: 'a name is one label below the gateway’s domain, 1–63 of a–z, 0–9 and inner hyphens',
    });
  }
  const line = publish.find((one) => one.name === name);
  if (line !== undefined && line.service !== service) {
    throw new MoatError('NAME_TAKEN', `${home.file.name} publishes ${line.service} as ${name} already`, {
      next: [`moat unpublish ${name} -n ${home.file.name}`, 'or choose another --name'],
    });
  }
  const there = line?.gateways.some((one) => domainOf(one) === gateway.domain) === true;
  const gateways = there ? (line?.gateways ?? []) : [...(line?.gateways ?? []), gateway.domain];
  const published = { ...line, name, service, tls: 'terminate' as const, gateways };
  const added = { name: service, on: [home.member], port, target, protocol: 'http' as const };
  const file: DeploymentFile = {
    ...home.file,
    services: offered === undefined ? [...services, added] : services,
    publish: [...publish.filter((one) => one !== line), published],
  };
  return { target, service, name, gateway, file };
}

async function outcomeOf(
  context: Context,
  { name, service, target, gateway }: Wanted,
  home: Home,
  accepted: VersionAccepted | undefined,
  { bg }: PublishPortOptions,
): Promise<Outcome> {
  const { agent, style } = context;
  const isMeant = (one: { readonly name: string; readonly gateway: string }): boolean =>
    one.name === name && one.gateway === gateway.domain;
  const version = accepted?.version ?? home.current?.contract.version ?? 0;
  await waitUntilApplied(context, home.id, version, {
    timeoutMs: LIVE_TIMEOUT_MS,
    concerns: isMeant,
    temporary: bg !== true,
  });
  const detail = await agent.deployment(home.id);
  const publication = withConsent(detail, await agent.exposed()).find(isMeant);
  const url = publication?.url ?? null;
  const proof = url === null ? undefined : await tryAddress(context, url);
  const status = proof?.status ?? null;
  const works = status !== null && status < 500;
  const head = url ?? `${name} at ${gateway.domain}`;
  return {
    kind: 'published',
    data: {
      deployment: home.id,
      name: detail.name,
      version,
      head: detail.head,
      changed: accepted !== undefined,
      publication: publication ?? null,
      url,
      status,
      service,
      target,
      temporary: bg !== true,
    },
    text: [
      `${works ? style.ok : style.attention} ${style.bold(head)} → ${target}   ${style.dim(proof?.text ?? 'not live yet')}`,
      ...(status === 502 ? [`  ${style.dim('Next')}  start what is to listen on ${target}`] : []),
      style.dim(
        bg === true
          ? `  kept, also over restarts; moat unpublish ${name} -n ${detail.name} takes it back`
          : '  until Ctrl-C; --bg keeps it',
      ),
    ].join('\n'),
  };
}

function say({ io, json }: Context, outcome: Outcome): void {
  const line = json ? JSON.stringify({ kind: outcome.kind, version: 1, data: outcome.data }) : outcome.text;
  io.stdout.write(`${line}\n`);
}

/** Signs the withdrawal: the name answers 404 from then on. */
async function takeBack(interrupted: Context, owner: HomeOwner, wanted: Wanted, done: Done): Promise<Outcome> {
  const io = { ...interrupted.io, signal: AbortSignal.timeout(END_TIMEOUT_MS) };
  const context: Context = { ...interrupted, io };
  const { name, gateway, service, target } = wanted;
  try {
    const current = await loadDeployment(context, done.deployment);
    const file = withoutName(fileOf(current), wanted, done.serviceAdded);
    const submitted = await changeByVerb(context, owner, { current, file, atOnce: true });
    const version = submitted === undefined ? current.contract.version : requireAccepted(submitted).version;
    return {
      kind: 'withdrawn',
      data: { deployment: done.deployment, version, name, gateway: gateway.domain, service, target },
      text: `${context.style.ok} ${name} is not public any more: it answers 404, and stays yours for 30 days`,
    };
  } catch (cause) {
    throw new MoatError(errorCode(cause), `${name} is closed, but not withdrawn: ${errorBody(cause).message}`, {
      cause,
      reason: 'it answers 503 until it is published again or withdrawn',
      next: [`moat unpublish ${name} -n ${done.deployment}`],
    });
  }
}

function withoutName(file: DeploymentFile, { name, gateway, service }: Wanted, serviceAdded: boolean): DeploymentFile {
  const publish = file.publish.flatMap((line) => {
    if (line.name !== name) return [line];
    const gateways = line.gateways.filter((one) => domainOf(one) !== gateway.domain);
    return gateways.length === 0 ? [] : [{ ...line, gateways }];
  });
  const isUsed = publish.some((line) => line.service === service) || file.access.some(({ to }) => to.includes(service));
  const services = file.services.filter((one) => one.name !== service || !serviceAdded || isUsed);
  return { ...file, publish, services };
}

function tellNewHome({ progress, style }: Context, { member }: Home): void {
  progress.say(
    `${style.ok} made the deployment ${style.bold(HOME_NAME)}: a private network with this machine, ${member}, as its only member`,
  );
  progress.say(style.dim(`  moat fmt --from-contract -n ${HOME_NAME} > moat.yaml   writes it out as a file`));
}

/** @throws `TARGET_INVALID` */
function requirePort(port: number): void {
  if (port >= 1 && port <= 65_535) return;
  throw new MoatError('TARGET_INVALID', `${port} is not a port`, { next: ['moat publish 3000'] });
}
