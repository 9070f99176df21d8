/** A gRPC service with every kind of call, and its client; messages are texts, so that no compiler is needed. */
import {
  Metadata,
  Server,
  ServerCredentials,
  credentials,
  makeGenericClientConstructor,
  status,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  type MethodDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
};

function method(name: string, requestStream: boolean, responseStream: boolean): MethodDefinition<string, string> {
  return { path: `/moat.test.Echo/${name}`, requestStream, responseStream, ...text };
}

const METHODS = {
  unary: method('Unary', false, false),
  fail: method('Fail', false, false),
  never: method('Never', false, false),
  count: method('Count', false, true),
  sum: method('Sum', true, false),
  chat: method('Chat', true, true),
};

type Callback = (error: ServiceError | null, answer?: string) => void;

/** Calls by name. */
export interface EchoClient extends Client {
  unary(request: string, metadata: Metadata, callback: Callback): ClientUnaryCall;
  fail(request: string, callback: Callback): ClientUnaryCall;
  never(request: string, options: { deadline: number }, callback: Callback): ClientUnaryCall;
  count(request: string): ClientReadableStream<string>;
  sum(callback: Callback): ClientWritableStream<string>;
  chat(): ClientDuplexStream<string, string>;
}

export interface GrpcService extends AsyncDisposable {
  readonly port: number;
  /** Deadlines of `never`, in milliseconds from its beginning. */
  readonly deadlinesMs: number[];
  /** Calls that the client gave up, by method. */
  readonly cancelled: string[];
}

export async function startGrpcService(): Promise<GrpcService> {
  const server = new Server();
  const deadlinesMs: number[] = [];
  const cancelled: string[] = [];
  const implementation: UntypedServiceImplementation = {
    unary(call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) {
      const head = new Metadata();
      head.set('x-seen', String(call.metadata.get('x-asked')[0] ?? ''));
      call.sendMetadata(head);
      const trailer = new Metadata();
      trailer.set('x-last', 'yes');
      trailer.set('x-raw-bin', Buffer.from([0, 255, 10]));
      done(null, call.request.toUpperCase(), trailer);
    },
    fail(_call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) {
      done({ code: status.FAILED_PRECONDITION, details: 'not today: ü' });
    },
    never(call: ServerUnaryCall<string, string>) {
      const deadline = call.getDeadline();
      deadlinesMs.push((deadline instanceof Date ? deadline.getTime() : deadline) - Date.now());
      call.on('cancelled', () => cancelled.push('never'));
    },
    count(call: ServerWritableStream<string, string>) {
      call.on('cancelled', () => cancelled.push('count'));
      const last = Number(call.request);
      const write = (next: number): void => {
        if (call.cancelled) return;
        if (next > last) return void call.end();
        if (call.write(`${next}`)) setImmediate(write, next + 1);
        else call.once('drain', () => write(next + 1));
      };
      write(1);
    },
    sum(call: ServerReadableStream<string, string>, done: sendUnaryData<string>) {
      let sum = 0;
      call.on('data', (value: string) => (sum += Number(value)));
      call.on('end', () => done(null, String(sum)));
    },
    chat(call: ServerDuplexStream<string, string>) {
      call.on('data', (value: string) => call.write(`re: ${value}`));
      call.on('end', () => call.end());
      call.on('cancelled', () => cancelled.push('chat'));
    },
  };
  server.addService(METHODS, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return {
    port,
    deadlinesMs,
    cancelled,
    [Symbol.asyncDispose]() {
      server.forceShutdown();
      return Promise.resolve();
    },
  };
}

/** A client that trusts `ca` and finds `host` on this machine. */
export function grpcClient(host: string, port: number, ca: string): EchoClient {
  const Constructor = makeGenericClientConstructor(METHODS, 'Echo');
  return new Constructor(`127.0.0.1:${port}`, credentials.createSsl(Buffer.from(ca)), {
    'grpc.ssl_target_name_override': host,
    'grpc.default_authority': host,
  }) as unknown as EchoClient;
}
