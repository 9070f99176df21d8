import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { brotliDecompressSync, createGunzip, gunzipSync } from 'node:zlib';
import type { FieldList } from '@moat/core';
import { Compressor, chooseCoding, codedFields, type CompressibleAnswer } from '../../src/rules/compression.ts';

const html: CompressibleAnswer = {
  status: 200,
  fields: [['content-type', 'text/html; charset=utf-8']],
  hasBody: true,
  contentLength: 5_000,
};

describe('which answers are compressed', () => {
  const typed = (type: string): FieldList => [['content-type', type]];
  const rows: readonly (readonly [string, string | undefined, Partial<CompressibleAnswer>, string | undefined])[] = [
    ['a page', 'gzip, deflate, br', {}, 'br'],
    ['a page for a client without brotli', 'gzip', {}, 'gzip'],
    ['a client that prefers gzip', 'br;q=0.5, gzip', {}, 'gzip'],
    ['a client that takes anything', '*', {}, 'br'],
    ['a client that wants nothing', 'br;q=0, gzip;q=0', {}, undefined],
    ['a client that forbids one and takes the rest', 'br;q=0, *', {}, 'gzip'],
    ['a client that says nothing', undefined, {}, undefined],
    ['a quality that is none', 'br;q=2', {}, undefined],
    ['a small page', 'br', { contentLength: 100 }, undefined],
    ['a page of unknown length', 'br', { contentLength: undefined }, 'br'],
    ['an answer without a body', 'br', { hasBody: false }, undefined],
    ['a part', 'br', { status: 206 }, undefined],
    ['JSON', 'br', { fields: typed('application/json') }, 'br'],
    ['a suffix', 'br', { fields: typed('application/problem+json') }, 'br'],
    ['an image', 'br', { fields: typed('image/png') }, undefined],
    ['a drawing', 'br', { fields: typed('image/svg+xml') }, 'br'],
    ['events', 'br', { fields: typed('text/event-stream') }, undefined],
    ['what is compressed', 'br', { fields: [...html.fields, ['content-encoding', 'gzip']] }, undefined],
    ['what may not change', 'br', { fields: [...html.fields, ['cache-control', 'public, no-transform']] }, undefined],
    ['what has no type', 'br', { fields: [] }, undefined],
  ];
  for (const [what, accepted, answer, coding] of rows) {
    it(what, () => assert.equal(chooseCoding(accepted, { ...html, ...answer }), coding));
  }
});

describe('fields of a compressed answer', () => {
  it('have no length, a weak tag, and say that they vary', () => {
    const fields: FieldList = [
      ['content-length', '5000'],
      ['etag', '"a"'],
      ['accept-ranges', 'bytes'],
    ];
    assert.deepEqual(codedFields(fields, 'br'), [
      ['etag', 'W/"a"'],
      ['content-encoding', 'br'],
      ['vary', 'accept-encoding'],
    ]);
  });

  it('say so once', () => {
    const fields: FieldList = [
      ['vary', 'Origin, Accept-Encoding'],
      ['etag', 'W/"a"'],
    ];
    assert.deepEqual(codedFields(fields, 'gzip'), [...fields, ['content-encoding', 'gzip']]);
  });
});

describe('the bytes', () => {
  for (const [coding, decode] of [
    ['br', brotliDecompressSync],
    ['gzip', gunzipSync],
  ] as const) {
    it(`${coding}: come back whole, whatever the chunks`, async () => {
      const body = Buffer.concat([Buffer.from('x'.repeat(50_000)), randomBytes(100_000)]);
      const out: Uint8Array[] = [];
      const { promise, resolve } = Promise.withResolvers<undefined>();
      let drained: (() => void) | undefined;
      const compressor = new Compressor(coding, {
        onData: (chunk) => void out.push(chunk),
        onEnd: () => resolve(undefined),
        onDrain: () => drained?.(),
      });
      for (let at = 0; at < body.length; at += 7_919) {
        const drain = new Promise<void>((done) => (drained = done));
        if (!compressor.write(body.subarray(at, at + 7_919))) await drain;
      }
      compressor.end();
      await promise;
      assert.ok(decode(Buffer.concat(out)).equals(body));
    });
  }

  it('a line arrives before the next is written', async () => {
    const gunzip = createGunzip();
    const compressor = new Compressor('gzip', {
      onData: (chunk) => void gunzip.write(chunk),
      onEnd: () => undefined,
      onDrain: () => undefined,
    });
    for (const line of ['first\n', 'second\n']) {
      compressor.write(Buffer.from(line));
      const [data] = (await once(gunzip, 'data')) as [Buffer];
      assert.equal(data.toString(), line);
    }
    compressor.destroy();
  });

  it('so many at once, and room again once one is over', async () => {
    const running: Compressor[] = [];
    const ignore = (): void => undefined;
    // Those of tests before may just be closing.
    for (let turn = 0; turn < 5; turn++) {
      while (Compressor.hasRoom) {
        running.push(new Compressor('gzip', { onData: ignore, onEnd: ignore, onDrain: ignore }));
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(running.length <= 256);
    running.pop()?.destroy();
    while (!Compressor.hasRoom) await new Promise((resolve) => setImmediate(resolve));
    running.push(new Compressor('br', { onData: ignore, onEnd: ignore, onDrain: ignore }));
    assert.equal(Compressor.hasRoom, false);
    running.pop()?.end();
    while (!Compressor.hasRoom) await new Promise((resolve) => setImmediate(resolve));
    for (const each of running) each.destroy();
  });
});
