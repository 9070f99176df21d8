/**
 * Saved streams of requests: payloads known from others, and what fuzzing found here. A file is its bytes with line
 * breaks anywhere; `\r \n \t \0 \xNN \\` are escapes, `{host}` is the published name.
 * Its first lines, from `# `, say what it is, which requests are let through (`# reaches METHOD TARGET`), and which one
 * breaks behind its head (`# begins METHOD TARGET`).
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
  /** `METHOD TARGET` of one whose body breaks: a service may have seen its beginning. */
  readonly begins: string | undefined;
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
      const said = (what: string): string[] =>
        notes.filter((note) => note.startsWith(what)).map((note) => note.slice(what.length));
      return {
        name: file.replace('.txt', ''),
        about: notes.filter((note) => !/^(reaches|begins) /.test(note)).join(' '),
        bytes: unescape(lines.slice(first).join(''), host),
        reaches: said('reaches '),
        begins: said('begins ')[0],
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
