/** What the benchmarks of a link open and what answers them. */
import type { LinkStream, RequestHead, StreamEvents } from '@moat/core';

export const deployment = 'q7f3aaaaaaaaaaaaaaaaaaaaaa';
export const head: RequestHead = {
  method: 'GET',
  authority: 'shop.example.com',
  target: '/',
  bodyless: true,
  fields: [
    ['user-agent', 'bench'],
    ['accept', '*/*'],
    ['accept-encoding', 'gzip, br'],
    ['cookie', 'session=0123456789abcdef'],
    ['x-forwarded-for', '127.0.0.1'],
  ],
};
export const nothing: StreamEvents = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};
const body = Buffer.alloc(1024, 'x');

/** `http` streams are answered with 1 KiB, `tcp` streams with as many bytes as the reader takes. */
export function serve(stream: LinkStream): void {
  if (stream.request.kind === 'http') {
    stream.listen(nothing);
    stream.writeHead({ status: 200, fields: [['content-type', 'text/plain']] });
    stream.write(body);
    return stream.end();
  }
  const block = Buffer.alloc(64 * 1024, 'y');
  const pour = (): void => {
    while (stream.write(block));
  };
  stream.listen({ ...nothing, onDrain: pour });
  stream.writeHead({ connected: true });
  pour();
}
