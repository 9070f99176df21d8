/** Lines of requests in a file of their own, which somebody moves away while they are written. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AccessLog } from '../src/access-log.ts';
import { createLogger } from '../src/logger.ts';
import { UnreadableEntry } from '../src/request/log.ts';

const line = (requestId: string): UnreadableEntry =>
  new UnreadableEntry({ requestId, remoteAddress: '192.0.2.1', host: 'a.b', status: 400, code: 'REQUEST_MALFORMED' });

async function until(holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !holds();) {
    assert.ok(Date.now() < end, 'not within 5 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('a file gets every line, also after it was moved away and opened anew; the level of the log does not matter', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'moat-access-'));
  const [file, old] = [join(directory, 'access.log'), join(directory, 'access.log.1')];
  const access = new AccessLog({ file });
  const logger = createLogger('silent', { access });
  const idsIn = (path: string): unknown[] =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((text) => text !== '')
      .map((text) => (JSON.parse(text) as { requestId: unknown }).requestId);
  logger.info(line('one'), 'request');
  await until(() => idsIn(file).length === 1);
  assert.equal(statSync(file).mode & 0o007, 0, 'not for everybody');
  logger.info(line('two'), 'request');
  renameSync(file, old);
  access.reopen({ file });
  logger.info(line('three'), 'request');
  await until(() => idsIn(old).length === 2 && idsIn(file).length === 1);
  assert.deepEqual([idsIn(old), idsIn(file)], [['one', 'two'], ['three']]);
  assert.throws(() => access.reopen({ file: join(directory, 'nowhere', 'x') }), { code: 'GATEWAY_CONFIG_INVALID' });
  logger.info(line('four'), 'request');
  await until(() => idsIn(file).length === 2);
  access.reopen('off');
  logger.info(line('five'), 'request');
  access.reopen({ file });
  logger.info(line('six'), 'request');
  await until(() => idsIn(file).length === 3);
  assert.deepEqual(idsIn(file), ['three', 'four', 'six']);
  access.reopen('off');
  rmSync(directory, { recursive: true });
});

test('a file that cannot be opened fails the start with its name', () => {
  assert.throws(() => new AccessLog({ file: '/nowhere/access.log' }), /accessLog: cannot open \/nowhere\/access\.log/);
});
