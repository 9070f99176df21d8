/** `moat dev --hosts`: a marked block in /etc/hosts, for programs that do not know `*.localhost`. */
import { MoatError, errorCode } from '@moat/core';
import { readFileSync, writeFileSync } from 'node:fs';

const HOSTS_FILE = '/etc/hosts';
const BEGIN = '# moat dev';
const END = '# end of moat dev';

/**
 * Adds the names, replacing a block of an earlier run. Returns the way to take them out again.
 * @throws `FILE_UNREADABLE` with the command that does it by hand
 */
export function addHostNames(names: readonly string[], file: string = HOSTS_FILE): () => void {
  const block = `${BEGIN}\n${names.map((name) => `127.0.0.1 ${name}`).join('\n')}\n${END}\n`;
  edit(file, (text) => withoutBlock(text) + block, names);
  return () => edit(file, withoutBlock, names);
}

function edit(file: string, change: (text: string) => string, names: readonly string[]): void {
  try {
    // In place: /etc/hosts is often a bind mount that cannot be replaced by rename.
    writeFileSync(file, change(readFileSync(file, 'utf8')));
  } catch (error) {
    throw new MoatError('FILE_UNREADABLE', `${file} cannot be changed: ${errorCode(error)}`, {
      cause: error,
      next: names.map((name) => `echo 127.0.0.1 ${name} | sudo tee -a ${file}`),
    });
  }
}

export function withoutBlock(text: string): string {
  const begin = text.indexOf(`${BEGIN}\n`);
  const end = text.indexOf(`${END}\n`, begin);
  return begin < 0 || end < 0 ? text : text.slice(0, begin) + text.slice(end + END.length + 1);
}
