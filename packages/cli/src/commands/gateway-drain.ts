/** `moat gateway drain`: a gateway that goes down without anybody being cut off. */
import type { GatewayClient, GatewayStatus } from '@moat/admin-api';
import { isMoatError } from '@moat/core';
import type { Command } from 'commander';
import { setTimeout as delay } from 'node:timers/promises';
import { formatDuration, parseDuration } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

/** Milliseconds between two looks at what still runs. */
const LOOK_MS = 250;
/** Milliseconds for the process to end, once its time is over. */
const END_MS = 15_000;

type Running = Pick<GatewayStatus, 'requestsInFlight' | 'webSockets' | 'tunnels'>;

export function addDrain(gateway: Command, runner: VerbRunner): void {
  addVerb<{ readonly timeout: string }>(
    gateway,
    runner,
    {
      usage: 'drain',
      summary: 'stops the gateway once what runs has ended; nothing new is taken meanwhile',
      examples: [
        ['moat gateway drain', 'running requests, streams and WebSockets have a minute'],
        ['moat gateway drain --timeout 10m', 'for long downloads; what runs then is cut off'],
      ],
      options: [{ flags: '--timeout <time>', text: 'how long what runs may go on', preset: '60s' }],
    },
    async ({ gateway: client, style, io, progress }, _, { timeout }) => {
      const drainMs = parseDuration(timeout);
      const beganAt = io.now();
      const before = await client.status();
      await client.stop({ drainMs });
      const elapsed = (): string => formatDuration(io.now() - beganAt);
      let told = '';
      let last = before;
      await follow(client, { pid: before.pid, deadlineMs: Date.now() + drainMs + END_MS }, (status) => {
        // Behind that they are being cut off.
        if (io.now() - beganAt < drainMs) last = status;
        const line = stillRuns(status);
        if (line !== told) progress.say(style.dim(`${line}  ${elapsed()}`));
        told = line;
      });
      const cut = io.now() - beganAt >= drainMs ? last.requestsInFlight + last.tunnels : 0;
      const end = cut === 0 ? 'nothing was cut off' : `cut off: ${stillRuns(last)}`;
      return {
        kind: 'gateway-drained',
        data: { elapsedMs: io.now() - beganAt, cut, running: runningOf(before) },
        text: `${cut === 0 ? style.ok : style.attention} the gateway is down after ${elapsed()}; ${end}`,
      };
    },
  );
}

/** `2 requests, 3 WebSockets and 1 connection that is passed on run`. */
export function stillRuns({ requestsInFlight, webSockets, tunnels }: Running): string {
  const parts = [
    [requestsInFlight - webSockets, 'request', 'requests'] as const,
    [webSockets, 'WebSocket', 'WebSockets'] as const,
    [tunnels, 'connection that is passed on', 'connections that are passed on'] as const,
  ].flatMap(([count, one, many]) => (count > 0 ? [`${count} ${count === 1 ? one : many}`] : []));
  if (parts.length === 0) return 'nothing runs any more';
  return `${parts.slice(0, -1).join(', ')}${parts.length > 1 ? ' and ' : ''}${parts.at(-1)} still open`;
}

function runningOf({ requestsInFlight, webSockets, tunnels }: Running): Running {
  return { requestsInFlight, webSockets, tunnels };
}

/** Looks until nobody answers and the process is gone. @throws `AGENT_TIMEOUT` after the deadline */
async function follow(
  client: GatewayClient,
  { pid, deadlineMs }: { readonly pid: number; readonly deadlineMs: number },
  onStatus: (status: GatewayStatus) => void,
): Promise<void> {
  for (;;) {
    try {
      onStatus(await client.status({ timeoutMs: Math.max(LOOK_MS, deadlineMs - Date.now()) }));
    } catch (error) {
      if (!isMoatError(error, 'AGENT_NOT_RUNNING')) throw error;
      // Its socket goes first; its database and its keys are closed behind that.
      if (!isAlive(pid) || Date.now() >= deadlineMs) return;
    }
    await delay(LOOK_MS);
  }
}

/** False also where its number means nothing here, as outside of its container. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
