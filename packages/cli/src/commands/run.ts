/** `moat run`: a program that knows the names of a private network. */
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { holdConsent } from '../process/hold-consent.ts';
import { runWithNames } from '../process/run-with-names.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface RunOptions {
  readonly network?: string;
  readonly as?: string;
  readonly names: boolean;
  readonly service?: string;
  readonly port?: string;
  readonly public?: boolean;
}

export function addRun(program: Command, runner: VerbRunner): void {
  addVerb<RunOptions>(
    program,
    runner,
    {
      usage: 'run <command...>',
      summary: 'runs a program that reaches services by name, such as db.shop.internal',
      group: 'Use',
      orDev: true,
      passThrough: true,
      examples: [
        ['moat run -- psql -h db.shop.internal', 'names work inside, nowhere else'],
        ["moat run -- sh -c 'echo $MOAT_DB_HOST:$MOAT_DB_PORT'", 'each service also as variables'],
        ['moat run --no-names -- curl http://web.shop.internal', 'by proxy variables instead of names'],
        ['sudo moat run --as web -- sh', 'in the namespace of the member web: this network and nothing else'],
        ['moat run --service web --port 3000 -- npm start', 'as the service web, for as long as it runs'],
      ],
      options: [
        {
          flags: '--service <name>',
          text: 'what it offers: exposed to the network while it runs, with PORT in its environment',
        },
        { flags: '--as <member>', text: 'the network in which this machine is that member, in its namespace' },
        { flags: '--port <port>', text: 'where it listens; the service’s target by default' },
        { flags: '--public', text: 'the service also for gateways that it is published at' },
        { flags: '--no-names', text: 'no own /etc/hosts: variables and SOCKS proxy only' },
        NETWORK_OPTION,
      ],
    },
    async (context, command, options) => {
      const { agent, io, progress } = context;
      const deployment = await (options.as === undefined
        ? selectDeployment(agent, options.network)
        : selectMember(context, options.as, options.network));
      const hosts = await agent.hosts(deployment);
      if (options.as !== undefined && hosts.netns === null) {
        throw new MoatError('RUN_UNAVAILABLE', `${options.as} has no namespace of its own on this machine`, {
          next: [`moat wireguard up --netns ${options.as} --network ${hosts.network}`],
        });
      }
      const [file, ...args] = command;
      if (file === undefined) throw new MoatError('USAGE', 'a command is missing', { next: ['moat run -- CMD'] });
      if (options.service !== undefined) {
        await using offer = await offerService(context, deployment, { ...options, service: options.service });
        const env = { ...io.env, PORT: offer.port };
        const exitCode = await runWithNames({ file, args, hosts, io: { ...io, env }, names: options.names });
        return { kind: 'run', data: { exitCode }, exitCode, silent: true };
      }
      if (hosts.hosts.length === 0 && hosts.proxyPasswordFile === null) {
        progress.say(`! this machine may reach no service of ${hosts.network}; moat explain says why`);
      }
      const exitCode = await runWithNames({ file, args, hosts, io, names: options.names });
      return { kind: 'run', data: { exitCode }, exitCode, silent: true };
    },
  );
}

/** The one network in which this machine holds that place. @throws `MEMBER_UNKNOWN`, `DEPLOYMENT_AMBIGUOUS` */
async function selectMember({ agent }: Context, member: string, network: string | undefined): Promise<string> {
  const all = await agent.deployments();
  const held = all.filter(
    (each) => each.member === member && (network === undefined || [each.id, each.name].includes(network)),
  );
  const [only] = held;
  if (only !== undefined && held.length === 1) return only.id;
  if (only === undefined) {
    throw new MoatError('MEMBER_UNKNOWN', `this machine is no member ${member}`, { next: ['moat status'] });
  }
  throw new MoatError('DEPLOYMENT_AMBIGUOUS', `this machine is ${member} in ${held.length} networks; say which`, {
    next: held.map(({ name }) => `--network ${name}`),
  });
}

interface Offer extends AsyncDisposable {
  readonly port: string;
}

/**
 * Exposes the target that the contract gives a service on this machine, until it is disposed of or this process ends.
 * @throws `SERVICE_UNKNOWN`, `USAGE` for another port than the service's
 */
async function offerService(
  context: Context,
  deployment: string,
  { service: wanted, port, public: open = false }: Pick<RunOptions, 'port' | 'public'> & { readonly service: string },
): Promise<Offer> {
  const detail = await context.agent.deployment(deployment);
  const service = detail.services.find(({ name }) => name === wanted);
  // Null where this machine does not offer it.
  if (service === undefined || service.exposed === null) {
    const what = service === undefined ? `has no service ${wanted}` : `does not offer ${wanted} on this machine`;
    const member = detail.member ?? 'MEMBER';
    const line = `${wanted}: { on: [${member}], port: 80, target: 127.0.0.1:${port ?? '3000'} }`;
    const edit =
      service === undefined
        ? `add to services: in moat.yaml   ${line}`
        : `add ${member} to on: of services.${wanted} in moat.yaml`;
    throw new MoatError('SERVICE_UNKNOWN', `${detail.name} ${what}`, {
      next: [edit, 'moat apply'],
    });
  }
  const own = /\d+$/.exec(service.target)?.[0] ?? '';
  if (port !== undefined && port !== own) {
    throw new MoatError('USAGE', `${wanted} is at ${service.target} here, not at port ${port}`, {
      next: [`--port ${own}`, 'or change its target in moat.yaml, and moat apply'],
    });
  }
  const over = new AbortController();
  await holdConsent(context, { deployment: detail.id, target: service.target, public: open }, over.signal);
  return {
    port: own,
    [Symbol.asyncDispose]: () => {
      over.abort();
      return Promise.resolve();
    },
  };
}
