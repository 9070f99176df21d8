/** Joins a channel of this process with a socket to another process on this machine, both ways, until either ends. */
import type { Socket } from 'node:net';
import type { ByteChannel } from '@moat/core';

/**
 * A link has no half-closed state, so the end of one direction is the end of both, behind what is on its way. Bound: what
 * each side's own buffer takes; a side that is full stops the other.
 */
export function pipeChannel(channel: ByteChannel, socket: Socket): void {
  channel.onData = (chunk) => {
    // Borrowed until this returns, while a socket may keep what it is given.
    if (!socket.write(Buffer.from(chunk))) channel.pause();
  };
  channel.onDrain = () => socket.resume();
  channel.onEnd = () => socket.end();
  channel.onClose = (error) => (error === undefined ? socket.destroySoon() : socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    if (!channel.write(chunk)) socket.pause();
  });
  socket.on('drain', () => channel.resume());
  let ended = false;
  socket.on('end', () => {
    ended = true;
    channel.end();
  });
  socket.on('error', () => channel.destroy());
  socket.on('close', () => {
    if (!ended) channel.destroy();
  });
}
