/**
 * Bytes at the public port, row by row: each row is sent whole and, where it is short, byte by byte. What is accepted
 * arrives at the member as exactly the requests the row names; what is refused is answered once, nothing of it arrives,
 * and the connection is closed.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { FieldList } from '@moat/core';
import { EdgeUnderTest, readAll } from '../../edge-under-test.ts';
import { member, type Seen } from '../../member.ts';
import { readAnswers } from './read-answers.ts';
import type { Expected, WireCase } from './case.ts';
import { CHUNKED } from './chunked.ts';
import { CONNECTION, EXPECTATIONS, SWITCHING } from './connection.ts';
import { FIELDS } from './fields.ts';
import { BOTH_LENGTHS, CONTENT_LENGTH, TRANSFER_ENCODING } from './length.ts';
import { REQUEST_LINE } from './request-line.ts';
import { HOST_FIELD, TARGET } from './target.ts';

const TABLES: Readonly<Record<string, readonly WireCase[]>> = {
  'request line': REQUEST_LINE,
  target: TARGET,
  Host: HOST_FIELD,
  fields: FIELDS,
  'Content-Length': CONTENT_LENGTH,
  'Transfer-Encoding': TRANSFER_ENCODING,
  'both lengths': BOTH_LENGTHS,
  chunks: CHUNKED,
  connection: CONNECTION,
  expectations: EXPECTATIONS,
  switching: SWITCHING,
};
/** How long the gateway may leave a connection open that it must close. */
const CLOSE_MS = 5_000;
/** Longer rows are not sent byte by byte. */
const MAX_BYTEWISE = 1_500;

const seen: Seen[] = [];
let edge: EdgeUnderTest;

before(async () => {
  edge = await EdgeUnderTest.start({ limits: { headMs: 30_000 } });
  edge.publish({ m1: recording });
});
after(() => edge[Symbol.asyncDispose]());

/** Keeps what came and answers it, once it is whole; a request to switch protocols at once, with a no. */
const recording = member((stream) => {
  const { method = '', target = '', authority = '', fields = [], upgrade } = stream.requestHead ?? {};
  const chunks: Buffer[] = [];
  const answer = (trailers: FieldList): void => {
    seen.push({ method, target, authority, fields, body: Buffer.concat(chunks).toString('latin1'), trailers });
    stream.writeHead({ status: 200, fields: [['content-length', '2']] });
    if (method !== 'HEAD') stream.write(Buffer.from('ok'));
    stream.end();
  };
  if (upgrade !== undefined) answer([]);
  return {
    onData: (chunk) => void chunks.push(Buffer.from(chunk)),
    onEnd: (trailers) => (upgrade === undefined ? answer(trailers) : undefined),
  };
});

/** Sends the parts in records of their own, ends where `half` says so, and reads to the end. */
async function exchange(parts: readonly string[], half: boolean): Promise<string> {
  seen.splice(0);
  const socket = await edge.connect();
  socket.setNoDelay(true);
  const all = readAll(socket);
  for (const part of parts) socket.write(Buffer.from(part, 'latin1'));
  if (half) socket.end();
  let open = false;
  const deadline = setTimeout(() => {
    open = true;
    socket.destroy();
  }, CLOSE_MS);
  const text = await all;
  clearTimeout(deadline);
  const saw = seen.map(({ method, target }) => `${method} ${target}`);
  assert.ok(!open, `not closed; the member saw ${JSON.stringify(saw)}`);
  return text;
}

function assertSeen(expected: readonly Expected[]): void {
  const brief = seen.map(({ method, target, authority, body }) => ({ method, target, authority, body }));
  assert.deepEqual(
    brief,
    expected.map(({ method, target, authority, body }) => ({ method, target, authority, body })),
  );
  for (const [i, { fields = {}, trailers }] of expected.entries()) {
    const all = new Map(seen[i]?.fields);
    for (const [name, value] of Object.entries(fields)) assert.equal(all.get(name), value, name);
    if (trailers) assert.deepEqual(seen[i]?.trailers, trailers);
  }
}

async function run({ send, answers, seen: expected, half = false }: WireCase, parts: readonly string[]): Promise<void> {
  const text = await exchange(parts, half);
  const statuses = readAnswers(
    text,
    expected.map(({ method }) => method),
  ).map(({ status }) => status);
  const fits =
    statuses.length === answers.length && answers.every((answer, i) => [answer].flat().includes(statuses[i] ?? 0));
  assert.ok(
    fits,
    `answered ${statuses.join(', ')} instead of ${JSON.stringify(answers)} to ${JSON.stringify(send.slice(0, 300))}`,
  );
  assertSeen(expected);
}

for (const [table, cases] of Object.entries(TABLES)) {
  suite(table, () => {
    for (const row of cases) {
      test(row.name, async () => {
        await run(row, [row.send]);
        if (row.send.length <= MAX_BYTEWISE) await run(row, row.send.split(''));
      });
    }
  });
}

/** Rows whose every division into two records is tried. */
const DIVIDED = ['requests with every kind of body', 'CL.TE', 'bare LF ends the head', 'a trailer', 'two Hosts'];

suite('divided at every byte', () => {
  for (const row of Object.values(TABLES).flat()) {
    if (!DIVIDED.includes(row.name)) continue;
    test(row.name, async () => {
      for (let at = 1; at < row.send.length; at += 1) {
        await run(row, [row.send.slice(0, at), row.send.slice(at)]).catch((error: unknown) => {
          throw new Error(`divided at ${at}`, { cause: error });
        });
      }
    });
  }
});

test('there are enough rows, and each has its own name', () => {
  const names = Object.entries(TABLES).flatMap(([table, cases]) => cases.map(({ name }) => `${table}: ${name}`));
  assert.ok(names.length >= 450, String(names.length));
  assert.equal(new Set(names).size, names.length);
});
