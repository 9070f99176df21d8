/**
 * What a user sets once for the command, in `config.yaml`: the user's own file wins over the machine's. Flags and
 * `MOAT_*` variables win over both.
 */
import { MoatError, errorCode } from '@moat/core';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { LineCounter, isMap, isScalar, parseDocument } from 'yaml';
import type { Io } from '../io.ts';

export interface Settings {
  /** Domain of the gateway to publish at. */
  readonly gateway?: string;
}

const KEYS: readonly (keyof Settings)[] = ['gateway'];
const MACHINE_FILE = '/etc/moat/config.yaml';

/** Where the user's own file lies: `$XDG_CONFIG_HOME/moat/config.yaml`. */
export function userSettingsFile(env: Io['env']): string {
  const base = env['XDG_CONFIG_HOME'];
  const config = base !== undefined && isAbsolute(base) ? base : join(env['HOME'] ?? homedir(), '.config');
  return join(config, 'moat', 'config.yaml');
}

/** @throws `CONFIG_INVALID` with file, line and column. */
export async function readSettings({ env }: Io): Promise<Settings> {
  const files = [MACHINE_FILE, userSettingsFile(env)];
  const layers = await Promise.all(files.map(async (file) => parseSettings(await textOf(file), file)));
  return Object.assign({}, ...layers) as Settings;
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT' || errorCode(cause) === 'ENOTDIR') return '';
    throw new MoatError('CONFIG_INVALID', `cannot read ${file}`, { cause, reason: errorCode(cause) });
  }
}

function parseSettings(text: string, file: string): Settings {
  const lines = new LineCounter();
  const { errors, contents } = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const complaint = (offset: number, message: string): MoatError<'CONFIG_INVALID'> => {
    const { line, col } = lines.linePos(offset);
    return new MoatError('CONFIG_INVALID', `${file}:${line}:${col}: ${message}`);
  };
  const [syntax] = errors;
  if (syntax !== undefined) throw complaint(syntax.pos[0], syntax.message.split('\n')[0] ?? 'not YAML');
  if (contents === null) return {};
  if (!isMap(contents)) throw complaint(0, `settings are written KEY: VALUE, with the keys ${KEYS.join(', ')}`);
  const settings: Record<string, string> = {};
  for (const { key, value } of contents.items) {
    const name = isScalar(key) ? String(key.value) : '';
    const offset = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
    if (!KEYS.some((known) => known === name)) {
      throw complaint(offset, `unknown key ${name}; there is ${KEYS.join(', ')}`);
    }
    if (!isScalar(value) || typeof value.value !== 'string') throw complaint(offset, `${name} is a text`);
    settings[name] = value.value;
  }
  return settings;
}
