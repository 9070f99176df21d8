/** One line in the book, and the bounds of what people may write. */
import { GuestbookError } from './errors.ts';

export const MAX_NAME_CHARACTERS = 40;
export const MAX_TEXT_CHARACTERS = 500;

/** What someone wants to write. */
export interface Draft {
  readonly name: string;
  readonly text: string;
}

/** What the book keeps. */
export interface Entry extends Draft {
  /** Counts up from 1. */
  readonly number: number;
  /** RFC 3339, UTC. */
  readonly time: string;
  /** Chosen by the writer; the same key is stored once, so a retry is safe. */
  readonly key: string;
}

/** @throws `ENTRY_INVALID` unless `input` has a name and a text within their bounds. */
export function parseDraft(input: unknown): Draft {
  if (typeof input !== 'object' || input === null) throw invalid('an entry has a name and a text');
  const { name, text } = input as Record<string, unknown>;
  return {
    name: parseText(name, 'name', MAX_NAME_CHARACTERS),
    text: parseText(text, 'text', MAX_TEXT_CHARACTERS),
  };
}

function parseText(value: unknown, field: string, maxCharacters: number): string {
  if (typeof value !== 'string') throw invalid(`${field} is missing`);
  // Control characters would break the page's layout and, in a terminal, worse.
  const text = value
    .toWellFormed()
    .replaceAll(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]+/g, ' ')
    .trim();
  if (text === '') throw invalid(`${field} is empty`);
  if (text.length > maxCharacters) throw invalid(`${field} has more than ${maxCharacters} characters`);
  return text;
}

function invalid(message: string): GuestbookError {
  return new GuestbookError('ENTRY_INVALID', message);
}
