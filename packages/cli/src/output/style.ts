/** Colour and marks. No meaning is in colour alone; NO_COLOR, FORCE_COLOR and "not a terminal" turn it off. */
import type { Writable } from 'node:stream';
import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];

type Paint = (text: string) => string;

export interface Style {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly good: Paint;
  readonly warn: Paint;
  readonly bad: Paint;
  readonly accent: Paint;
  /** ✓ */
  readonly ok: string;
  /** ! */
  readonly attention: string;
  /** ✗ */
  readonly fail: string;
}

/** @param stream where the text will go. */
export function createStyle(stream: Writable): Style {
  const paint =
    (format: Format) =>
    (text: string): string =>
      text === '' ? '' : styleText(format, text, { stream });
  return {
    bold: paint('bold'),
    dim: paint('dim'),
    good: paint('green'),
    warn: paint('yellow'),
    bad: paint('red'),
    accent: paint('cyan'),
    ok: paint('green')('✓'),
    attention: paint('yellow')('!'),
    fail: paint('red')('✗'),
  };
}
