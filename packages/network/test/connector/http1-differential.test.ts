/**
 * The parser beside Node's own: what ours takes, Node's takes too, as the same message. What ours refuses, nobody has to
 * read. MOAT_TEST=full tries many more.
 */
import assert from 'node:assert/strict';
import { request, type IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import fc from 'fast-check';
import { ResponseParser } from '../../src/connector/http1-parser.ts';

/** What a reader made of an answer; undefined when it refused it or found it cut short. */
interface Reading {
  readonly statuses: readonly number[];
  readonly body: string;
  /** Of the final head, those named in `COMPARED`. */
  readonly fields: readonly string[];
}

const runs = process.env['MOAT_TEST'] === 'full' ? 1_000_000 : 20_000;

const either = (usual: readonly string[], odd: readonly string[]): fc.Arbitrary<string> =>
  fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...usual) }, { weight: 1, arbitrary: fc.constantFrom(...odd) });

const lineEnd = either(['\r\n'], ['\n', '\r', '\r\r\n', '']);
const field = fc
  .tuple(
    either(
      ['Content-Length', 'Transfer-Encoding', 'Connection', 'X-A', 'keep-alive', 'Set-Cookie', 'Date'],
      ['', 'X A', 'X\0', ' X', 'caf\xe9', 'Upgrade'],
    ),
    either([':', ': ', ':\t '], [' :', '']),
    either(
      ['5', '0', '11', 'chunked', 'close', 'keep-alive', 'timeout=5', 'a, b', 'caf\xe9'],
      ['05', '+5', '5, 5', 'Chunked', 'gzip, chunked', 'a\0', 'a\rb', '\x7f', ''],
    ),
    lineEnd,
  )
  .map((parts) => parts.join(''));
const head = fc
  .tuple(
    either(
      [
        'HTTP/1.1 200 OK',
        'HTTP/1.1 404',
        'HTTP/1.0 200 OK',
        'HTTP/1.1 204 No',
        'HTTP/1.1 304 Not',
        'HTTP/1.1 103 Early',
      ],
      ['HTTP/1.2 200 OK', 'http/1.1 200 OK', 'HTTP/1.1  200 OK', 'HTTP/1.1 20 OK', 'HTTP/1.1 2000 OK', 'ICY 200 OK'],
    ),
    lineEnd,
    fc.array(field, { maxLength: 4 }),
    lineEnd,
  )
  .map(([status, end, fields, blank]) => `${status}${end}${fields.join('')}${blank}`);
const chunk = either(
  ['5\r\nhello\r\n', 'A;x=y\r\n0123456789\r\n', '05\r\nhello\r\n', '0\r\n\r\n', '0\r\nX-T: 1\r\n\r\n'],
  [
    '5\nhello\r\n',
    '5 \r\nhello\r\n',
    '+5\r\nhello\r\n',
    '0x5\r\nhello\r\n',
    '5\r\nhello!\r\n',
    'fffffffffffffffff\r\n',
    '\r\n',
  ],
);
const chunks = fc.array(chunk, { maxLength: 5 }).map((parts) => parts.join(''));
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
const answer = fc.oneof(
  fc.tuple(
    fc.array(head, { minLength: 1, maxLength: 2 }),
    fc.oneof(fc.constantFrom('', 'hello', 'hello world'), chunks),
  ),
  fc.tuple(fc.constant([CHUNKED]), chunks),
);

/** Fields that neither side takes away. */
const COMPARED: ReadonlySet<string> = new Set(['x-a', 'date', 'set-cookie']);

test('property: what is taken here, Node takes as the same answer', async () => {
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(
      answer,
      fc.constantFrom('GET', 'HEAD'),
      fc.integer({ min: 1, max: 40 }),
      async ([heads, body], method, step) => {
        const bytes = Buffer.from(heads.join('') + body, 'latin1');
        const ours = readHere(bytes, method, step);
        assert.deepEqual(readHere(bytes, method, Infinity), ours, 'another reading in another split');
        if (ours === undefined) return;
        taken += 1;
        const { used, untilClose, ...reading } = ours;
        const whole = bytes.subarray(0, used);
        const text = JSON.stringify(whole.toString('latin1'));
        assert.deepEqual(await readByNode(whole, method), reading, text);
        // Not one byte earlier either.
        if (!untilClose) assert.equal(await readByNode(whole.subarray(0, -1), method), undefined, text);
      },
    ),
    { numRuns: runs },
  );
  assert.ok(taken > runs / 20, `only ${taken} of ${runs} were valid: the property says little`);
});

interface Taken extends Reading {
  /** Bytes of the answer; what follows is not looked at. */
  readonly used: number;
  readonly untilClose: boolean;
}

function readHere(bytes: Buffer, method: string, step: number): Taken | undefined {
  const statuses: number[] = [];
  let body = '';
  let fields: string[] = [];
  const parser = new ResponseParser(
    { method },
    {
      onHead: (said) => {
        statuses.push(said.status);
        fields = said.fields.filter(([name]) => COMPARED.has(name)).map((each) => each.join(': '));
      },
      onBody: (piece) => (body += piece.toString('latin1')),
      onEnd: () => undefined,
    },
  );
  let used = 0;
  let untilClose = false;
  try {
    for (let at = 0; at < bytes.length && !parser.complete; at += step) {
      used += parser.execute(bytes.subarray(at, Math.min(bytes.length, at + step)));
    }
    untilClose = !parser.complete;
    parser.finish();
  } catch (error) {
    assert.ok(isMoatError(error, 'SERVICE_PROTOCOL') || isMoatError(error, 'SERVICE_RESET'), String(error));
    return undefined;
  }
  return { statuses, body, fields, used, untilClose };
}

function readByNode(bytes: Buffer, method: string): Promise<Reading | undefined> {
  return new Promise((resolve) => {
    const statuses: number[] = [];
    const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    const asked = request({ method, createConnection: () => socket, headers: { host: 'a' } });
    asked.on('information', ({ statusCode }) => statuses.push(statusCode));
    asked.on('error', () => resolve(undefined));
    asked.on('response', (said: IncomingMessage) => {
      statuses.push(said.statusCode ?? 0);
      let body = '';
      said.on('data', (piece: Buffer) => (body += piece.toString('latin1')));
      said.on('error', () => resolve(undefined));
      said.on('end', () => resolve(said.complete ? { statuses, body, fields: fieldsOf(said) } : undefined));
    });
    asked.end();
    socket.push(bytes);
    socket.push(null);
  });
}

function fieldsOf({ rawHeaders }: IncomingMessage): string[] {
  const fields: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = String(rawHeaders[i]).toLowerCase();
    if (COMPARED.has(name)) fields.push(`${name}: ${rawHeaders[i + 1]}`);
  }
  return fields;
}
