/** `moat ping`: round trips to a member or to the machine behind a service. */
import type { Pinged } from '@moat/admin-api';
import { MoatError, isMoatError, sleep, systemClock } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { planePathLine, planePathText } from '../output/plane-path.ts';
import { parseDuration } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface PingOptions {
  readonly network?: string;
  readonly count: string;
  readonly timeout: string;
  readonly untilDirect?: string | boolean;
}

const UNTIL_DIRECT = '30s';
/** Milliseconds between two answers while the path is not direct. */
const AGAIN_MS = 1_000;

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
        ['moat ping db-1 --until-direct', 'shows each answer with its path, and ends at the first direct one'],
      ],
      options: [
        { flags: '-c, --count <n>', text: 'how many', preset: '3' },
        { flags: '--timeout <time>', text: 'for each', preset: '10s' },
        {
          flags: '--until-direct [time]',
          text: `until the path is direct; exit code 7 and why when it is not (${UNTIL_DIRECT})`,
        },
        NETWORK_OPTION,
      ],
    },
    async (context, [target = ''], options) => {
      const { agent, style, progress, io, json } = context;
      const id = await selectDeployment(agent, options.network);
      const timeoutMs = parseDuration(options.timeout);
      const count = Number(options.count);
      if (!Number.isInteger(count) || count < 1 || count > 1000) {
        throw new MoatError('USAGE', `--count ${options.count} is not a number from 1 to 1000`);
      }
      const untilDirectMs = durationOf(options.untilDirect);
      const pings: Pinged[] = [];
      const ping = async (): Promise<Pinged> => {
        const pong = await progress.during(
          `reaching ${target}`,
          agent.ping(id, { target, timeoutMs, direct: untilDirectMs !== undefined }, { signal: io.signal }),
        );
        pings.push(pong);
        const who = pong.member === target ? pong.member : `${target} at ${pong.member}`;
        const plane = pong.plane === undefined ? '' : `  WireGuard ${planePathText(pong.plane)}`;
        if (!json) io.stdout.write(`${style.ok} ${who}  ${pong.path}  ${pong.rttMs.toFixed(1)} ms${plane}\n`);
        return pong;
      };
      if (untilDirectMs !== undefined) await untilDirect(context, target, ping, untilDirectMs);
      else {
        for (let i = 0; i < count; i++) {
          if (i > 0) await sleep(systemClock, 200, io.signal);
          await ping();
        }
      }
      return { kind: 'ping', data: { target, pings } };
    },
  );
}

function durationOf(option: string | boolean | undefined): number | undefined {
  if (option === undefined || option === false) return undefined;
  return parseDuration(option === true ? UNTIL_DIRECT : option);
}

/**
 * Asks again until the path is direct; who does not answer yet may still come.
 * @throws `NOT_DIRECT` with the reason of the last path, or a refusal that no waiting changes
 */
async function untilDirect(
  { io }: Context,
  target: string,
  ping: () => Promise<Pinged>,
  limitMs: number,
): Promise<void> {
  const end = io.now() + limitMs;
  let reason = 'no answer so far';
  for (;;) {
    try {
      const { path, pathReason, plane } = await ping();
      // With an interface its packets are what counts: a link is for the agents.
      if ((plane ?? { path }).path === 'direct') return;
      reason = plane === undefined ? `${path}: ${pathReason}` : `WireGuard ${planePathLine(plane)}`;
    } catch (error) {
      if (!isMoatError(error) || !error.retryable) throw error;
      reason = error.reason ?? error.message;
    }
    if (io.now() >= end) {
      throw new MoatError('NOT_DIRECT', `no direct path to ${target} within ${limitMs / 1000} s`, {
        reason,
        next: [`moat explain THIS-MACHINE ${target}`, 'open a port on one of the two machines: 4410 and 4411'],
        retryable: true,
      });
    }
    await sleep(systemClock, AGAIN_MS, io.signal);
  }
}
