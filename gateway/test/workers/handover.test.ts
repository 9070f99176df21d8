import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ByteChannel } from '@moat/core';
import { LocalPipes } from '../../src/workers/handover.ts';

/** A channel that keeps what it is given. */
class Kept implements ByteChannel {
  onData: (chunk: Uint8Array) => void = () => undefined;
  onDrain = (): void => undefined;
  onEnd = (): void => undefined;
  onClose: (error?: Error) => void = () => undefined;
  readonly bufferedBytes = 0;
  readonly closed = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<string>();
  text = '';

  get ended(): Promise<string> {
    return this.#ended.promise;
  }
  write(chunk: Uint8Array): boolean {
    this.text += Buffer.from(chunk).toString('latin1');
    return true;
  }
  pause(): void {}
  resume(): void {}
  end(): void {
    this.#ended.resolve(this.text);
  }
  destroy(): void {
    this.closed.resolve();
  }
}

async function pipes(): Promise<AsyncDisposable & { readonly local: LocalPipes }> {
  const directory = await mkdtemp(join(tmpdir(), 'moat-pipe-'));
  const local = new LocalPipes(join(directory, 'pipe.sock'));
  return {
    local,
    async [Symbol.asyncDispose]() {
      local.stop();
      await rm(directory, { recursive: true });
    },
  };
}

test('each channel gets a socket of its own, whole both ways', async () => {
  await using place = await pipes();
  const channels = Array.from({ length: 20 }, () => new Kept());
  const fars = channels.map(
    (channel, i) =>
      new Promise<Socket>((resolve) => {
        place.local.pipe(channel, resolve);
        // In the same turn: nothing of it may be lost.
        channel.onData(Buffer.from(`to ${i};`));
      }),
  );
  await Promise.all(
    fars.map(async (waiting, i) => {
      const far = await waiting;
      far.end(`from ${i}`);
      channels[i]?.onEnd();
      let text = '';
      for await (const chunk of far.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
      assert.equal(text, `to ${i};`);
      assert.equal(await channels[i]?.ended, `from ${i}`);
    }),
  );
});

test('an end that breaks ends the other', async () => {
  await using place = await pipes();
  const first = new Kept();
  const far = await new Promise<Socket>((resolve) => place.local.pipe(first, resolve));
  far.destroy();
  await first.ended;
  const second = new Kept();
  const other = await new Promise<Socket>((resolve) => place.local.pipe(second, resolve));
  const closed = new Promise<void>((resolve) => other.once('close', () => resolve()));
  other.resume();
  second.onClose();
  await closed;
});

test('a pipe that cannot be made ends its channel, and no other gets its place', async () => {
  const nowhere = new LocalPipes('/nonexistent/pipe');
  const lost = new Kept();
  nowhere.pipe(lost, () => assert.fail('it has no other end'));
  await lost.closed.promise;
  await using place = await pipes();
  const next = new Kept();
  const far = await new Promise<Socket>((resolve) => place.local.pipe(next, resolve));
  far.end('mine');
  assert.equal(await next.ended, 'mine');
});
