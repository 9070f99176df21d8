/** `moat gateway`: a public edge of one's own. */
import { isHostName } from '@moat/contract';
import { isDeploymentId, MoatError } from '@moat/core';
import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import { resolvePath, writeNewFile } from '../input/files.ts';
import { renderTable } from '../output/table.ts';
import { formatDuration, shorten } from '../output/units.ts';
import { addGroup, addVerb, type VerbRunner } from '../verb.ts';
import { addGatewayPublishers, publishersLine } from './gateway-publishers.ts';
import { addRotateKey } from './gateway-rotate-key.ts';
import { addBackup } from './gateway-backup.ts';
import { addDrain, stillRuns } from './gateway-drain.ts';
import { addGatewayValidate } from './gateway-validate.ts';
import { addReload } from './gateway-reload.ts';
import { addSuspend } from './gateway-suspend.ts';
import { addRestartWorkers, workerLines } from './gateway-workers.ts';

interface InitOptions {
  readonly domain?: string;
  readonly config: string;
  readonly open?: boolean;
  readonly allow: readonly string[];
  readonly email?: string;
  readonly certificate?: string;
  readonly certificateKey?: string;
}

export function addGateway(program: Command, runner: VerbRunner): void {
  const gateway = addGroup(program, 'gateway', 'a public edge of your own', 'Operate');
  addInit(gateway, runner);
  addVerb<{ readonly config: string; readonly logLevel?: string }>(
    gateway,
    runner,
    {
      usage: 'run',
      summary: 'runs the gateway in the foreground; logs go to stderr',
      examples: [['moat gateway run --config gateway.yaml', 'until Ctrl-C or SIGTERM']],
      options: [
        { flags: '--config <file>', text: 'gateway.yaml', preset: 'gateway.yaml', env: 'MOAT_GATEWAY_CONFIG' },
        { flags: '--log-level <level>', text: 'trace, debug, info, warn or error', env: 'MOAT_LOG_LEVEL' },
      ],
    },
    async (context, _, options) => {
      const { runGatewayProcess } = await import('../process/run-gateway.ts');
      await runGatewayProcess(context, options);
      return { kind: 'gateway-run', data: {}, silent: true };
    },
  );
  addVerb<object>(
    gateway,
    runner,
    {
      usage: 'status',
      summary: 'the gateway of this machine: names, links, requests',
      orDev: true,
      examples: [['moat gateway status', 'and every name it serves']],
    },
    async ({ gateway: client, style, io }) => {
      const [status, { names }] = await Promise.all([client.status(), client.names()]);
      const publishers = publishersLine(status.publishers, status.rules, status.openInvites);
      const rows = names.map((name) => [
        name.state === 'live' ? style.ok : style.attention,
        name.url,
        `→ ${name.service || '–'}`,
        shorten(name.deployment),
        name.state,
      ]);
      const lines = [
        `${style.bold(status.domain)}  ${shorten(status.peerId)}  up ${formatDuration(status.uptimeMs)}  publishers ${publishers}`,
        `  links ${status.links}   requests ${status.requestsTotal} (${status.requestsInFlight} now, ${status.webSockets} WebSockets)   names ${status.names}   memory ${Math.round(status.rssBytes / 1024 / 1024)} MiB`,
        ...(status.draining === null ? [] : [`${style.attention} it goes down: ${stillRuns(status)}`]),
        ...workerLines(status.workers, style),
        ...status.warnings.map((warning) => `${style.attention} ${warning.message}  ${style.dim(warning.code)}`),
        ...(rows.length === 0 ? [] : [renderTable(rows, { indent: 2 })]),
      ];
      return {
        kind: 'gateway-status',
        data: { ...status, list: names, time: new Date(io.now()).toISOString() },
        text: lines.join('\n'),
      };
    },
  );
  addVerb<object>(
    gateway,
    runner,
    {
      usage: 'stop',
      summary: 'stops the gateway in order',
      examples: [['moat gateway stop', 'running requests end first, at most 10 s; names are kept']],
    },
    async ({ gateway: client, style }) => {
      await client.stop({});
      return { kind: 'gateway-stopped', data: {}, text: `${style.ok} the gateway stops` };
    },
  );
  addDrain(gateway, runner);
  addGatewayPublishers(gateway, runner);
  addSuspend(gateway, runner);
  addGatewayValidate(gateway, runner);
  addReload(gateway, runner);
  addBackup(gateway, runner);
  addRotateKey(gateway, runner);
  addRestartWorkers(gateway, runner);
}

function addInit(gateway: Command, runner: VerbRunner): void {
  addVerb<InitOptions>(
    gateway,
    runner,
    {
      usage: 'init',
      summary: 'writes gateway.yaml',
      examples: [
        ['moat gateway init --domain apps.example.com --email ops@example.com', 'a public domain'],
        [
          'moat gateway init --domain apps.example.com --certificate fullchain.pem --certificate-key key.pem',
          'with a certificate from elsewhere',
        ],
        ['moat gateway init --domain localhost', 'this machine only, with a certificate authority of its own'],
      ],
      options: [
        { flags: '--domain <domain>', text: 'names are one label below it' },
        { flags: '--config <file>', text: 'where to write', preset: 'gateway.yaml' },
        { flags: '--open', text: 'anyone may publish' },
        { flags: '--allow <deployment>', text: 'this deployment may publish; repeatable', list: true },
        { flags: '--email <address>', text: 'for the authority that certificates come from' },
        { flags: '--certificate <file>', text: 'PEM, for the domain and one label below it' },
        { flags: '--certificate-key <file>', text: 'PEM' },
      ],
    },
    async (context, _, options) => {
      const domain =
        options.domain ?? (await context.prompt.text('Domain of the gateway', { flag: '--domain DOMAIN' }));
      const text = renderGatewayFile(domain, options);
      const absent = [options.certificate, options.certificateKey].filter(
        (file) => file !== undefined && !existsSync(resolvePath(context.io, file)),
      );
      await writeNewFile(context.io, options.config, text);
      const { style } = context;
      return {
        kind: 'gateway-init',
        data: { file: options.config, domain },
        text: [
          `${style.ok} ${options.config}`,
          ...absent.map((file) => `${style.attention} there is no ${file} yet`),
          ...(options.open === true || options.allow.length > 0
            ? []
            : [`${style.attention} whom you invite may publish: moat gateway invite`]),
          `  ${style.dim('Next')}  moat gateway run --config ${options.config}`,
        ].join('\n'),
      };
    },
  );
}

function renderGatewayFile(domain: string, options: InitOptions): string {
  if (!isHostName(domain)) {
    throw new MoatError('USAGE', `"${domain}" is not a domain`, {
      next: ['moat gateway init --domain apps.example.com'],
    });
  }
  const strange = options.allow.find((id) => !isDeploymentId(id));
  if (strange !== undefined) {
    throw new MoatError('USAGE', `--allow ${strange} is not a deployment id`, {
      reason: 'an id has 26 characters of a–z and 2–7; a name can be anybody’s',
      next: ['moat status -d   shows the id, where the network runs'],
    });
  }
  if ((options.certificate === undefined) !== (options.certificateKey === undefined)) {
    throw new MoatError('USAGE', '--certificate and --certificate-key go together');
  }
  const local = domain === 'localhost' || domain.endsWith('.localhost');
  if (options.email !== undefined && (local || options.certificate !== undefined)) {
    throw new MoatError('USAGE', '--email is for the authority that certificates of a public domain come from');
  }
  const allowed = options.allow.length > 0 ? `{ allow: [${options.allow.join(', ')}] }` : 'invited';
  const publishers = options.open === true ? 'open' : allowed;
  const acme = options.email === undefined ? '{ acme: {} }' : `{ acme: { email: ${scalar(options.email)} } }`;
  const own = local ? 'local # a certificate authority of this machine' : `${acme} # by default from Let's Encrypt`;
  const tls =
    options.certificate === undefined
      ? own
      : `{ files: [{ certificate: ${scalar(options.certificate)}, key: ${scalar(options.certificateKey ?? '')} }] }`;
  return [
    'version: 1',
    `domain: ${domain}`,
    `publishers: ${publishers} # invited | open | { allow: [deployment ids] }`,
    `tls: ${tls}`,
    '',
  ].join('\n');
}

/** A path inside `{ … }`: quoted where a character would mean something to YAML. */
function scalar(path: string): string {
  return /^[\w./-][\w./@-]*$/.test(path) ? path : JSON.stringify(path);
}
