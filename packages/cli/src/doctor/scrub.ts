/**
 * Takes secrets out of a text that somebody will send away. Two ways at once: what looks like one of ours goes wherever it
 * stands, and so does every secret that lies on this machine, letter for letter.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const REMOVED = '[removed]';
/** Shorter pieces would take ordinary words away. */
const MIN_SECRET_LENGTH = 8;
const MAX_SECRET_FILE_BYTES = 256 * 1024;
/** Files whose every longer piece is secret. */
const SECRET_FILE = /\.key(?:\.next)?$|password|passphrase|token|secret|\.pem$|code\.txt$|recovery/;

/** Shapes of secrets, each with what of it stays. */
const SHAPES: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [^-]*PRIVATE KEY-----[^]*?(?:-----END [^-]*PRIVATE KEY-----|$)/g, REMOVED],
  [/\b(?:moatcode-|moat1\.)[\w-]+/g, REMOVED],
  // A user and a password in an address.
  [/([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi, `$1${REMOVED}@`],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]{8,}/gi, `$1 ${REMOVED}`],
  // Whatever calls itself a secret, in YAML, JSON or an assignment.
  [
    /(\b[\w.-]*(?:secret|password|passphrase|token|hmac|seed|private_?key|pre_?shared_?key|api_?key|mac_?key)[\w.-]*\\*["']?\s*[:=]\s*)(?!\s*[[{]|null\b|true\b|false\b)(\\+"[^"]*"|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,}\]]+)/gi,
    `$1${REMOVED}`,
  ],
];

/** @param secrets exact strings, from {@link secretsIn} */
export function scrub(text: string, secrets: Iterable<string>): string {
  let clean = text;
  // The longest first, so that no part of one is left behind when a shorter one is in it.
  for (const secret of [...new Set(secrets)].toSorted((a, b) => b.length - a.length)) {
    clean = clean.replaceAll(secret, REMOVED);
  }
  for (const [shape, instead] of SHAPES) clean = clean.replaceAll(shape, instead);
  return clean;
}

/** Every longer piece of the secret files in these directories, two levels deep. What cannot be read is left out. */
export function secretsIn(directories: readonly string[], depth: number = 2): string[] {
  return directories.flatMap((directory) => {
    try {
      return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
        const path = join(directory, entry.name);
        if (entry.isDirectory()) return depth > 0 ? secretsIn([path], depth - 1) : [];
        return entry.isFile() && SECRET_FILE.test(entry.name) ? piecesOf(path) : [];
      });
    } catch {
      return [];
    }
  });
}

function piecesOf(path: string): string[] {
  if (statSync(path).size > MAX_SECRET_FILE_BYTES) return [];
  const pieces = readFileSync(path, 'latin1').split(/[\s"',:{}[\]]+/);
  return pieces.filter((piece) => piece.length >= MIN_SECRET_LENGTH && !NOT_SECRET.test(piece));
}

/** Words of key files that are no secrets, and public keys and ids, which a reader needs. */
const NOT_SECRET =
  /^(?:-+BEGIN|-+END|PRIVATE|CERTIFICATE-*|KEY-----|CERTIFICATE|moat\/[\w/-]+|12D3Koo\w+|(?:ed|x)25519:?|aes-256-gcm|\d+)$/;
