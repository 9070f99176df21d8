/**
 * Saved streams of requests: payloads known from others, and what fuzzing found here. A file is its bytes with line
 * breaks anywhere; `\r \n \t \0 \xNN \\` are escapes, `{host}` is the published name.
 * Its first lines, from `# `, say what it is, and which requests are let through (`# reaches METHOD TARGET`).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Payload {
  readonly name: string;
  readonly about: string;
  /** Latin-1. */
  readonly bytes: string;
  /** `METHOD TARGET` of the whole requests that are accepted, in order. */
  readonly reaches: readonly string[];
}

const FOLDER = fileURLToPath(new URL('./corpus/', import.meta.url));
const SIMPLE: Readonly<Record<string, string>> = { r: '\r', n: '\n', t: '\t', 0: '\0', '\\': '\\' };

export function readCorpus(host: string): readonly Payload[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.txt'))
    .sort()
    .map((file) => {
      const lines = readFileSync(FOLDER + file, 'latin1').split('\n');
      const first = lines.findIndex((line) => !line.startsWith('# '));
      const notes = lines.slice(0, first).map((line) => line.slice(2));
      const said = (note: string): boolean => note.startsWith('reaches ');
      return {
        name: file.replace('.txt', ''),
        about: notes.filter((note) => !said(note)).join(' '),
        bytes: unescape(lines.slice(first).join(''), host),
        reaches: notes.filter(said).map((note) => note.slice('reaches '.length)),
      };
    });
}

function unescape(text: string, host: string): string {
  return text
    .replaceAll('{host}', host)
    .replace(/\\(?:x([0-9a-fA-F]{2})|(.))/gs, (_all, hex: string | undefined, simple: string) =>
      hex === undefined ? (SIMPLE[simple] ?? simple) : String.fromCharCode(Number.parseInt(hex, 16)),
    );
}
