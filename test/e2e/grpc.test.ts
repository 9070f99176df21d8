/** gRPC from a public client over TLS to a service that a member offers, every kind of call. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { grpcClient, startGrpcService, type EchoClient, type GrpcService } from './grpc-service.ts';
import { eventually } from './machine.ts';
import { World } from './world.ts';

const world = new World();
let service: GrpcService;
let client: EchoClient;

before(async () => {
  service = await startGrpcService();
  await world.startGateway();
  await world.grow({
    name: 'calls',
    members: { owner: { keeper: true }, 'rpc-1': { tags: ['rpc'], expose: [`${service.port},public`] } },
    services: { rpc: { on: ['tag:rpc'], port: 50_051, target: `127.0.0.1:${service.port}`, protocol: 'grpc' } },
    publish: { rpc: 'rpc' },
  });
  const { port, browser } = world.gateway;
  await eventually('rpc is public', async () => (await browser.fetch('rpc.localhost')).status !== 404);
  client = grpcClient('rpc.localhost', port, browser.tls('rpc.localhost').ca);
});

after(async () => {
  client?.close();
  await world[Symbol.asyncDispose]();
  await service?.[Symbol.asyncDispose]();
});

/** The answer of a call, or its error. */
function called(call: (done: (error: ServiceError | null, answer?: string) => void) => unknown): Promise<{
  readonly answer: string | undefined;
  readonly error: ServiceError | null;
}> {
  return new Promise((resolve) => call((error, answer) => resolve({ error, answer })));
}

suite('gRPC', () => {
  test('unary: metadata, a message, trailers and their bytes', async () => {
    const metadata = new Metadata();
    metadata.set('x-asked', 'this');
    let trailer: Metadata | undefined;
    let head: Metadata | undefined;
    const { answer, error } = await called((done) => {
      const call = client.unary('hello', metadata, done);
      call.on('metadata', (received: Metadata) => (head = received));
      call.on('status', (end: { metadata: Metadata }) => (trailer = end.metadata));
    });
    assert.equal(error, null);
    assert.equal(answer, 'HELLO');
    assert.deepEqual(head?.get('x-seen'), ['this']);
    assert.deepEqual(trailer?.get('x-last'), ['yes']);
    assert.deepEqual(trailer?.get('x-raw-bin'), [Buffer.from([0, 255, 10])]);
  });

  test('an error without a message comes with its code and text', async () => {
    const { error } = await called((done) => client.fail('x', done));
    assert.deepEqual([error?.code, error?.details], [status.FAILED_PRECONDITION, 'not today: ü']);
  });

  test('a method nobody has is UNIMPLEMENTED: the answer is only trailers', async () => {
    const { error } = await called((done) =>
      client.makeUnaryRequest('/moat.test.Echo/None', (value: string) => Buffer.from(value), String, 'x', done),
    );
    assert.equal(error?.code, status.UNIMPLEMENTED);
  });

  test('a large message is whole', async () => {
    const { answer, error } = await called((done) => client.unary('a'.repeat(3 << 20), new Metadata(), done));
    assert.equal(error, null);
    assert.equal(answer?.length, 3 << 20);
  });

  test('server streaming', async () => {
    const received: string[] = [];
    for await (const value of client.count('200') as AsyncIterable<string>) received.push(value);
    assert.equal(received.length, 200);
    assert.equal(received.at(-1), '200');
  });

  test('client streaming', async () => {
    const { answer } = await called((done) => {
      const call = client.sum(done);
      for (let value = 1; value <= 100; value++) call.write(String(value));
      call.end();
    });
    assert.equal(answer, '5050');
  });

  test('both directions: each message is answered before the next is sent', async () => {
    const call = client.chat();
    for (let round = 0; round < 20; round++) {
      call.write(`m${round}`);
      assert.deepEqual(await once(call, 'data'), [`re: m${round}`]);
    }
    call.end();
    const [end] = (await once(call, 'status')) as [{ code: number }];
    assert.equal(end.code, status.OK);
  });

  test('what a client cancels is cancelled at the service', async () => {
    const stream = client.count('1000000000');
    stream.on('error', () => undefined);
    await once(stream, 'data');
    stream.cancel();
    const call = client.chat();
    call.on('error', () => undefined);
    call.write('half');
    await once(call, 'data');
    call.cancel();
    await eventually('both are cancelled', () => {
      return Promise.resolve(service.cancelled.includes('count') && service.cancelled.includes('chat'));
    });
  });

  test('a deadline reaches the service and ends the call at both ends', async () => {
    const DEADLINE_MS = 3_000;
    const { error } = await called((done) => client.never('x', { deadline: Date.now() + DEADLINE_MS }, done));
    assert.equal(error?.code, status.DEADLINE_EXCEEDED);
    const [left] = service.deadlinesMs;
    assert.ok(left !== undefined && left > 0 && left <= DEADLINE_MS, `${left} ms`);
    await eventually('the service hears of it', () => Promise.resolve(service.cancelled.includes('never')));
  });

  test('many calls at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, i) => called((done) => client.unary(`call ${i}`, new Metadata(), done))),
    );
    assert.deepEqual(
      answers.map(({ answer }) => answer),
      answers.map((_, i) => `CALL ${i}`),
    );
  });
});
