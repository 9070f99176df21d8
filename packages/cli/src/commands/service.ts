/** `moat service`: the agent or a gateway under systemd. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import { MoatError, errorCode } from '@moat/core';
import type { Command } from 'commander';
import { replaceFile, resolvePath } from '../input/files.ts';
import { renderUnit, SERVICES, stateOf, unitName, type ServiceName } from '../service/unit.ts';
import { addGroup, addVerb, type VerbRunner } from '../verb.ts';

interface InstallOptions {
  readonly print?: boolean;
  readonly config: string;
  readonly root: string;
  readonly wireguard?: boolean;
}

const run = promisify(execFile);
const UNITS = 'etc/systemd/system';
const SYSTEMCTL_MS = 150_000;
/** The script that runs now, and the flags it runs with. */
const COMMAND: readonly string[] = [process.execPath, ...process.execArgv, process.argv[1] ?? 'moat'];

export function addService(program: Command, runner: VerbRunner): void {
  const service = addGroup(program, 'service', 'the agent or a gateway under systemd', 'Operate');
  addVerb<InstallOptions>(
    service,
    runner,
    {
      usage: 'install <node|gateway>',
      summary: 'writes a hardened systemd unit, enables and starts it',
      examples: [
        ['moat service install node', 'the agent, as a user of its own'],
        ['moat service install node --wireguard', 'and it may make WireGuard interfaces'],
        ['moat service install gateway --config /etc/moat/gateway.yaml', 'on ports 80 and 443 without root'],
        ['moat service install gateway --print', 'shows the unit and does nothing'],
      ],
      options: [
        { flags: '--print', text: 'write the unit to stdout, nothing else' },
        { flags: '--wireguard', text: 'the agent may make WireGuard interfaces and network namespaces' },
        { flags: '--config <file>', text: 'of the gateway', preset: '/etc/moat/gateway.yaml' },
        { flags: '--root <directory>', text: 'write the unit below it and start nothing, for images', preset: '/' },
      ],
    },
    async ({ io, style }, [word = ''], { print = false, config, root, wireguard = false }) => {
      const name = serviceOf(word);
      const args = name === 'gateway' ? ['--config', resolvePath(io, config)] : [];
      if (wireguard && name === 'gateway') {
        throw new MoatError('USAGE', 'a gateway has no WireGuard interface', {
          next: ['moat service install node --wireguard'],
        });
      }
      const unit = renderUnit(name, { command: COMMAND, args, wireguard });
      if (print) return { kind: 'service-unit', data: { name: unitName(name), unit }, text: unit.trimEnd() };
      if (name === 'gateway' && root === '/' && !existsSync(resolvePath(io, config))) {
        throw new MoatError('FILE_MISSING', `there is no ${config}`, {
          next: [`moat gateway init --config ${isAbsolute(config) ? config : '/etc/moat/gateway.yaml'}`],
        });
      }
      const path = join(root, UNITS, unitName(name));
      await replaceFile(io, path, unit);
      const started = root === '/';
      if (started) {
        await systemctl('daemon-reload');
        await systemctl('enable', unitName(name));
        await systemctl('restart', unitName(name));
      }
      const text = [
        `${style.ok} ${path}${started ? ' is enabled and runs' : ''}`,
        `  state in ${stateOf(name)}; logs: journalctl -u ${unitName(name)}`,
      ].join('\n');
      return { kind: 'service-install', data: { name: unitName(name), path, started }, text };
    },
  );
  addVerb<object>(
    service,
    runner,
    {
      usage: 'uninstall <node|gateway>',
      summary: 'stops it and removes its unit; keys and state stay',
      examples: [['moat service uninstall gateway', 'what it knew stays in /var/lib/moat-gateway']],
    },
    async ({ io, style }, [word = '']) => {
      const name = serviceOf(word);
      const path = join('/', UNITS, unitName(name));
      if (existsSync(path)) {
        await systemctl('disable', '--now', unitName(name));
        await rm(resolvePath(io, path));
        await systemctl('daemon-reload');
      }
      const text = `${style.ok} ${unitName(name)} is gone; its state stays in ${stateOf(name)}`;
      return { kind: 'service-uninstall', data: { name: unitName(name), state: stateOf(name) }, text };
    },
  );
  addVerb<object>(
    service,
    runner,
    {
      usage: 'status <node|gateway>',
      summary: 'what systemd says of it; exit code 8 when it does not run',
      examples: [['moat service status gateway', 'state, process, what it said last']],
    },
    async ({ style }, [word = '']) => {
      const name = serviceOf(word);
      const keys = ['ActiveState', 'SubState', 'UnitFileState', 'MainPID', 'NRestarts', 'StatusText'];
      const said = await systemctl('show', `--property=${keys.join(',')}`, unitName(name));
      const values = new Map(
        said.split('\n').map((line) => [line.split('=', 1)[0], line.slice(line.indexOf('=') + 1)]),
      );
      const of = (key: string): string => values.get(key) ?? '';
      const active = of('ActiveState') === 'active';
      const data = {
        name: unitName(name),
        active,
        state: `${of('ActiveState')} (${of('SubState')})`,
        enabled: of('UnitFileState') === 'enabled',
        pid: Number(of('MainPID')) || null,
        restarts: Number(of('NRestarts')) || 0,
        status: of('StatusText'),
      };
      const mark = active ? style.ok : style.fail;
      const text = `${mark} ${data.name}  ${data.state}  ${data.status}`.trimEnd();
      return { kind: 'service-status', data, text, exitCode: active ? 0 : 8 };
    },
  );
}

/** @throws `USAGE` */
function serviceOf(word: string): ServiceName {
  const name = SERVICES.find((each) => each === word);
  if (name !== undefined) return name;
  throw new MoatError('USAGE', `"${word}" is neither node nor gateway`, { next: ['moat service install gateway'] });
}

/** @throws `SERVICE_MANAGER_FAILED` */
async function systemctl(...args: readonly string[]): Promise<string> {
  try {
    return (await run('systemctl', [...args], { timeout: SYSTEMCTL_MS })).stdout;
  } catch (cause) {
    const said = (cause as { stderr?: string }).stderr?.trim().split('\n')[0] ?? '';
    const missing = errorCode(cause) === 'ENOENT';
    throw new MoatError(
      'SERVICE_MANAGER_FAILED',
      missing ? 'this machine has no systemd' : `systemctl ${args[0] ?? ''} failed`,
      {
        cause,
        ...(said === '' ? {} : { reason: said }),
        next: missing
          ? ['moat service install NAME --print   shows what another manager needs']
          : ['as root', 'journalctl -xe'],
      },
    );
  }
}
