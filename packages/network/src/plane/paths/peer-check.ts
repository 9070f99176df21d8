/** Short questions about a pair over `/moat/path/1`. */
import { sleep, type Clock, type ControlPlane, type MessageStream, type Tunnels } from '@moat/core';

import { createDeadline } from '../deadline.ts';
import { PATH_PROTOCOL, decodePathMessage, encodePathMessage } from './path-messages.ts';
import { peerOf } from './punch.ts';
import { reach, type Pair } from './way.ts';

/** Milliseconds of a check: a packet and two messages. */
const CHECK_MS = 1_000;
const WAKE_MS = 5_000;
const LOOK_MS = 50;

export interface PeerCheckDeps {
  readonly control: ControlPlane;
  readonly tunnels: Tunnels;
  readonly clock: Clock;
}

/** Has the peer send a packet: true when it arrived. When it did not, the peer is told that the way is lost. */
export async function checkPeer(
  deps: PeerCheckDeps,
  pair: Pair,
  quietMs: number,
  parent: AbortSignal,
): Promise<boolean> {
  const { clock, tunnels } = deps;
  const before = (await peerOf(tunnels, pair.place))?.received ?? 0;
  const arrived = async (): Promise<boolean> => ((await peerOf(tunnels, pair.place))?.received ?? 0) > before;
  using deadline = createDeadline(clock, CHECK_MS, parent);
  const { signal } = deadline;
  let stream: MessageStream | undefined;
  try {
    stream = await open(deps, pair, signal);
    await stream.write(encodePathMessage({ type: 'check', deployment: pair.deployment }), signal);
    decodePathMessage(await stream.read(signal));
    while (!(await arrived())) await sleep(clock, LOOK_MS, signal);
    await stream.close();
    return true;
  } catch {
    parent.throwIfAborted();
    if (stream !== undefined) await sayLost(deps, stream, quietMs, parent);
    return arrived();
  }
}

/** Tells the leader that we are awake. @throws what the control plane throws */
export async function tellAwake(deps: PeerCheckDeps, pair: Pair, parent: AbortSignal): Promise<void> {
  using deadline = createDeadline(deps.clock, WAKE_MS, parent);
  const stream = await open(deps, pair, deadline.signal);
  await stream.write(encodePathMessage({ type: 'wake', deployment: pair.deployment }), deadline.signal);
  await stream.close();
}

async function open({ control }: PeerCheckDeps, pair: Pair, signal: AbortSignal): Promise<MessageStream> {
  return control.open(await reach(control, pair, signal), PATH_PROTOCOL, signal);
}

async function sayLost(
  { clock }: PeerCheckDeps,
  stream: MessageStream,
  quietMs: number,
  parent: AbortSignal,
): Promise<void> {
  using deadline = createDeadline(clock, 200, parent);
  try {
    await stream.write(encodePathMessage({ type: 'lost', quietMs: Math.floor(quietMs) }), deadline.signal);
    await stream.close();
  } catch {
    // It notices by itself: our packets come by the ride from now on.
  }
}
