/**
 * A raw TCP stream through the private network to a port of the far machine: Moat's loopback listener (`moat` over a direct
 * link, `moat-relay` through an anchor), what the tunnels make of it, and `direct`, the bare cable. A kernel's own work
 * for a tunnel device is nobody's CPU time here.
 */
import { missingPrograms } from './programs.ts';
import type { Scenario } from './scenario.ts';
import { createStreamServer, streamLoad } from './stream-load.ts';
import { targetOf, type Subject } from './subject.ts';
import { moatPrivate, moatRelay } from './subjects/moat.ts';
import { nginxNebula } from './subjects/nebula.ts';
import { nginxNoTunnel } from './subjects/no-tunnel.ts';
import { nginxSsh } from './subjects/ssh.ts';
import { nginxTinc } from './subjects/tinc.ts';
import { nginxWireguard } from './subjects/wireguard.ts';
import { nginxYggdrasil } from './subjects/yggdrasil.ts';

/** The way of `subject` without the edge in front of it. */
function streamOf(subject: Subject, name: string): Subject {
  return {
    name,
    missing: async () => missingPrograms('iperf3') ?? (await subject.missing()),
    async start(context) {
      await context.shared(createStreamServer);
      return subject.start(context);
    },
  };
}

const subjects: readonly Subject[] = [
  streamOf(moatPrivate, 'moat'),
  streamOf(moatRelay, 'moat-relay'),
  streamOf(nginxNoTunnel, 'direct'),
  streamOf(nginxNebula, 'nebula'),
  streamOf(nginxWireguard, 'wireguard-go'),
  streamOf(nginxTinc, 'tinc'),
  streamOf(nginxYggdrasil, 'yggdrasil'),
  streamOf(nginxSsh, 'ssh'),
];

export const l4Scenarios: readonly Scenario[] = [1, 8].map((connections) => ({
  name: `l4/tcp/stream/c${connections}`,
  subjects,
  quick: connections === 1,
  measure: (running, options) =>
    streamLoad({ target: targetOf(running, 'tcp'), connections, pids: running.pids('tcp') }, options),
}));
