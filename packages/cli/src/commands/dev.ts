/** `moat dev`: a gateway, two nodes and the guestbook on this machine, as processes of their own. */
import { MoatError, isMoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { checkHops } from '../dev/check.ts';
import { addHostNames } from '../dev/hosts-file.ts';
import { WEB_MEMBER } from '../dev/guestbook.ts';
import { createLayout, findExample, type DevLayout } from '../dev/layout.ts';
import { choosePorts, type Ports } from '../dev/ports.ts';
import { renderHops, renderReady, renderStep, renderTaken } from '../dev/report.ts';
import { noteRunningDev, readNote } from '../dev/running.ts';
import { startGuestbook } from '../dev/start.ts';
import { Supervisor } from '../dev/supervisor.ts';
import { EXIT } from '../exit-codes.ts';
import { untilInterrupted } from '../process/interrupted.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface DevOptions {
  readonly check?: boolean;
  readonly port: string;
  readonly hosts?: boolean;
  readonly fresh?: boolean;
}

export function addDev(program: Command, runner: VerbRunner): void {
  addVerb<DevOptions>(
    program,
    runner,
    {
      usage: 'dev',
      summary: 'everything on this machine: a gateway, two nodes and an example',
      group: 'Try it',
      examples: [
        ['moat dev', 'https://guestbook.localhost:8443, until Ctrl-C'],
        ['moat dev --check', 'one request through the whole path, each hop proved; exit code 0 or 1'],
      ],
      options: [
        { flags: '--check', text: 'prove each hop, then stop' },
        { flags: '--port <port>', text: 'https port of the gateway', preset: '8443' },
        { flags: '--hosts', text: 'write the name into /etc/hosts while it runs' },
        { flags: '--fresh', text: 'forget what earlier runs kept' },
      ],
    },
    dev,
  );
}

async function dev(context: Context, _: readonly string[], options: DevOptions): Promise<Outcome> {
  const { io, paths, progress, style } = context;
  const check = options.check === true;
  if (!check) refuseSecond(context);
  const began = io.now();
  await using stack = new AsyncDisposableStack();
  const layout = stack.use(createLayout(paths, { temporary: check, fresh: options.fresh === true }));
  const supervisor = createSupervisor(stack, context, layout);
  const chosen = await choosePorts(layout.portsFile, wantedPorts(options.port, check));
  for (const line of check ? [] : renderTaken(style, chosen)) progress.say(line);
  const deps = {
    context,
    supervisor,
    onStep: (name: string, message: string, tookMs: number): void =>
      progress.say(renderStep(style, name, message, tookMs)),
  };
  const running = await startOrKeepLogs(layout, () =>
    startGuestbook(deps, { layout, ports: chosen.ports, example: findExample() }),
  );
  if (check) return proveHops(context, await checkHops(context, running, layout.journal), running.url);

  const note = {
    member: WEB_MEMBER,
    home: layout.web.home,
    gatewaySocket: layout.gateway.gatewaySocket,
    url: running.url,
  };
  stack.defer(noteRunningDev(paths, note));
  if (options.hosts === true) nameHost(stack, context, new URL(running.url).hostname);
  const data = {
    url: running.url,
    caFile: running.caFile,
    deployment: running.deployment,
    network: running.network,
    logs: layout.logs,
  };
  const text = await renderReady(context, running, layout, supervisor.count, io.now() - began);
  io.stdout.write(context.json ? `${JSON.stringify({ kind: 'dev', version: 1, data })}\n` : `${text}\n`);
  const ended = new AbortController();
  stack.defer(() => ended.abort());
  const interrupted = untilInterrupted(AbortSignal.any([io.signal, ended.signal]));
  await Promise.race([interrupted, supervisor.unexpectedEnd]);
  progress.say(`\n${style.dim('stopping; once more Ctrl-C to end at once')}`);
  return { kind: 'dev', data, silent: true };
}

async function startOrKeepLogs<T>(layout: DevLayout, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    layout.keep();
    throw error;
  }
}

/** Whatever ends this process ends its children. */
function createSupervisor(stack: AsyncDisposableStack, { io, progress }: Context, layout: DevLayout): Supervisor {
  const supervisor = new Supervisor({ signal: io.signal }, { logs: layout.logs });
  const killAll = (): void => supervisor.killAll();
  process.once('exit', killAll);
  stack.defer(async () => {
    await progress.during('stopping the processes', supervisor[Symbol.asyncDispose]());
    process.removeListener('exit', killAll);
  });
  return supervisor;
}

/** What runs goes on without the name: browsers and curl do not need it. */
function nameHost(stack: AsyncDisposableStack, { progress, style }: Context, host: string): void {
  try {
    stack.defer(addHostNames([host]));
  } catch (error) {
    if (!isMoatError(error)) throw error;
    progress.say(`${style.attention} ${error.message}; by hand: ${error.next.join(' && ')}`);
  }
}

function refuseSecond({ paths }: Context): void {
  const note = readNote(paths);
  if (note === undefined) return;
  throw new MoatError('DEV_RUNNING', `moat dev runs already: ${note.url}`, {
    reason: `process ${note.pid}`,
    next: [`moat status`, `kill ${note.pid}   stops it`],
  });
}

/** @throws `USAGE` */
function wantedPorts(text: string, check: boolean): Partial<Ports> {
  // A check is out of the way of whatever runs here.
  if (check) return {};
  const https = Number(text);
  if (!Number.isInteger(https) || https < 0 || https > 65_535)
    throw new MoatError('USAGE', `--port ${text} is no port`);
  return { https, webService: 3000, dbService: 7000 };
}

function proveHops({ style }: Context, hops: Awaited<ReturnType<typeof checkHops>>, url: string): Outcome {
  const ok = hops.every((hop) => hop.ok);
  return {
    kind: 'dev-check',
    data: { ok, url, hops },
    exitCode: ok ? EXIT.done : EXIT.failed,
    text: `\n${renderHops(style, hops)}`,
  };
}
