/** Members as tests need them: acceptors of `http` streams. */
import type { AcceptHead, FieldList, LinkStream, StreamAcceptor, StreamEvents } from '@moat/core';

const nothing: StreamEvents = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

/** Takes the stream with the events given and ignores the others. */
export function member(take: (stream: LinkStream) => Partial<StreamEvents> | undefined): StreamAcceptor {
  return (stream) => {
    let events: Partial<StreamEvents> | undefined;
    // Members answer within `take` or later; either way the events stand before the first of them comes.
    stream.listen({
      onHead: (head: AcceptHead) => events?.onHead?.(head),
      onData: (chunk) => events?.onData?.(chunk),
      onEnd: (trailers: FieldList) => events?.onEnd?.(trailers),
      onDrain: () => events?.onDrain?.(),
      onClose: (code) => events?.onClose?.(code),
    });
    events = take(stream) ?? nothing;
  };
}

export const TEXT: FieldList = [['content-type', 'text/plain']];

/** Answers 200 with `text` once the request is whole. */
export function answering(text: string, fields: FieldList = TEXT): StreamAcceptor {
  return member((stream) => ({
    onEnd: () => {
      stream.writeHead({ status: 200, fields: [...fields, ['content-length', String(text.length)]] });
      if (stream.requestHead?.method !== 'HEAD') stream.write(Buffer.from(text));
      stream.end();
    },
  }));
}

/** What a member saw of a request. */
export interface Seen {
  readonly method: string;
  readonly target: string;
  readonly authority: string;
  readonly fields: FieldList;
  readonly body: string;
  readonly trailers: FieldList;
}

/** Answers with what it saw, as JSON, and keeps it in `seen`. */
export function recording(seen: Seen[]): StreamAcceptor {
  return member((stream) => {
    const chunks: Uint8Array[] = [];
    return {
      onData: (chunk) => void chunks.push(Uint8Array.from(chunk)),
      onEnd: (trailers) => {
        const { method = '', target = '', authority = '', fields = [] } = stream.requestHead ?? {};
        const saw = { method, target, authority, fields, body: Buffer.concat(chunks).toString('latin1'), trailers };
        seen.push(saw);
        const text = JSON.stringify(saw);
        stream.writeHead({
          status: 200,
          fields: [
            ['content-type', 'application/json'],
            ['content-length', String(text.length)],
          ],
        });
        if (method !== 'HEAD') stream.write(Buffer.from(text));
        stream.end();
      },
    };
  });
}

/** Sends every byte back, as a service that reads and writes at once. */
export function echoing(status: number = 200, fields: FieldList = TEXT): StreamAcceptor {
  return member((stream) => {
    stream.writeHead({ status, fields });
    return {
      onData: (chunk) => {
        if (!stream.write(chunk)) stream.pause();
      },
      onDrain: () => stream.resume(),
      onEnd: () => stream.end(),
    };
  });
}

/** Never answers. */
export const silent: StreamAcceptor = member(() => undefined);

/** Ends each stream with this code before any answer. */
export function resetting(code: string): StreamAcceptor {
  return member((stream) => {
    stream.reset(code);
    return undefined;
  });
}
