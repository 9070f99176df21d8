/** A peer in a process of its own: dials the link that the line on stdin describes, and echoes. */
import { createInterface } from 'node:readline';

import { fromBase64url, silentLogger, systemClock } from '@moat/core';

import { Session } from '../src/session.ts';
import { derivePsk, encodePreamble } from '../src/ticket.ts';
import { dialTls } from '../src/transport.tls.ts';
import { echo } from './recorder.ts';

let line = '';
for await (const read of createInterface({ input: process.stdin })) line += read;
const { port, id, secret, dialer, acceptor } = JSON.parse(line) as Record<string, string>;
const channel = await dialTls({
  host: '127.0.0.1',
  port: Number(port),
  preambles: [encodePreamble('member', fromBase64url(id ?? ''))],
  ticket: {
    identity: id ?? '',
    psk: derivePsk(fromBase64url(secret ?? ''), dialer ?? '', acceptor ?? '', 'member'),
    peer: acceptor ?? '',
  },
  signal: AbortSignal.timeout(10_000),
});
const session = new Session(
  { channel, clock: systemClock, logger: silentLogger, accept: (stream) => void echo(stream) },
  { peer: acceptor ?? '', path: 'direct', dialer: true },
);
await session.gone;
