/** `moat run`: a program that knows the names of a private network. */
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { runWithNames } from '../process/run-with-names.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface RunOptions {
  readonly network?: string;
  readonly names: boolean;
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
      ],
      options: [NETWORK_OPTION, { flags: '--no-names', text: 'no own /etc/hosts: variables and SOCKS proxy only' }],
    },
    async (context, command, options) => {
      const { agent, io, progress } = context;
      const deployment = await selectDeployment(agent, options.network);
      const hosts = await agent.hosts(deployment);
      if (hosts.hosts.length === 0 && hosts.proxyPasswordFile === null) {
        progress.say(`! this machine may reach no service of ${hosts.network}; moat explain says why`);
      }
      const [file, ...args] = command;
      if (file === undefined) throw new MoatError('USAGE', 'a command is missing', { next: ['moat run -- CMD'] });
      const exitCode = await runWithNames({ file, args, hosts, io, names: options.names });
      return { kind: 'run', data: { exitCode }, exitCode, silent: true };
    },
  );
}
