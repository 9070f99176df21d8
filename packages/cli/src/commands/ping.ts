/** `moat ping`: round trips to a member or to the machine behind a service. */
import type { Pinged } from '@moat/admin-api';
import { MoatError, sleep, systemClock } from '@moat/core';
import type { Command } from 'commander';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { parseDuration } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface PingOptions {
  readonly network?: string;
  readonly count: string;
  readonly timeout: string;
}

export function addPing(program: Command, runner: VerbRunner): void {
  addVerb<PingOptions>(
    program,
    runner,
    {
      usage: 'ping <target>',
      summary: 'round trips to a member or service over the private network',
      group: 'Use',
      orDev: true,
      examples: [
        ['moat ping db-1', 'a machine'],
        ['moat ping db', 'the machine that offers a service'],
      ],
      options: [
        { flags: '-c, --count <n>', text: 'how many', preset: '3' },
        { flags: '--timeout <time>', text: 'for each', preset: '10s' },
        NETWORK_OPTION,
      ],
    },
    async ({ agent, style, progress, io, json }, [target = ''], options) => {
      const id = await selectDeployment(agent, options.network);
      const timeoutMs = parseDuration(options.timeout);
      const count = Number(options.count);
      if (!Number.isInteger(count) || count < 1 || count > 1000) {
        throw new MoatError('USAGE', `--count ${options.count} is not a number from 1 to 1000`);
      }
      const pings: Pinged[] = [];
      for (let i = 0; i < count; i++) {
        if (i > 0) await sleep(systemClock, 200, io.signal);
        const ping = agent.ping(id, { target, timeoutMs }, { signal: io.signal });
        const pong = await progress.during(`reaching ${target}`, ping);
        pings.push(pong);
        if (json) continue;
        const who = pong.member === target ? pong.member : `${target} at ${pong.member}`;
        io.stdout.write(`${style.ok} ${who}  ${pong.path}  ${pong.rttMs.toFixed(1)} ms\n`);
      }
      return { kind: 'ping', data: { target, pings } };
    },
  );
}
