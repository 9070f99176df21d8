/**
 * Reads of a socket into one buffer of ours. Node has `onread` for that, but only for sockets it connects itself: over a
 * socket that is there, which is how a link begins (17 bytes in the clear), it makes a buffer of 16 to 64 KiB for each
 * read, and collecting them was a quarter of a gateway's time with large bodies (measured: 1 MiB answers cost the reader
 * 0.62 ms of CPU, and 0.42 ms with this; 1 KiB answers 5.9 and 4.8 µs). test/bench/link-pair.ts guards it.
 */
/** One for all sockets: each read is handed over before the next one begins. */
const shared = Buffer.allocUnsafeSlow(64 * 1024);

const sharedBuffer = (): Buffer => shared;

interface Handle {
  useUserBuffer?: (buffer: Buffer) => void;
}

/**
 * Does what Node does for the option `onread`, from now on: what arrives goes to `onRead`, borrowed until it returns, and
 * never to a `data` event. Each read goes where `room` says, by default into one buffer that all share. False, and nothing is
 * changed, where this Node has other names for it (socket-channel.test.ts).
 */
export function readInto(socket: object, onRead: (chunk: Buffer) => void, room: () => Buffer = sharedBuffer): boolean {
  const fields = socket as Record<symbol, unknown>;
  const { _handle: handle } = socket as { readonly _handle?: Handle | null };
  const symbols = Object.getOwnPropertySymbols(socket);
  const buffer = symbols.find(({ description }) => description === 'kBuffer');
  const callback = symbols.find(({ description }) => description === 'kBufferCb');
  const generator = symbols.find(({ description }) => description === 'kBufferGen');
  if (buffer === undefined || callback === undefined || generator === undefined) return false;
  if (typeof handle?.useUserBuffer !== 'function') return false;
  const first = room();
  fields[buffer] = first;
  fields[callback] = (bytes: number, into: Buffer): boolean => {
    onRead(into.subarray(0, bytes));
    return true;
  };
  if (room !== sharedBuffer) fields[generator] = room;
  handle.useUserBuffer(first);
  return true;
}
