/**
 * Puts a flushed table back while no agent runs: interfaces outlive it, and without rules they let everything in. A small
 * shell script, one for each interface in the agent's own namespace, where firewalls are reloaded; it ends with its file.
 * Elsewhere it would keep a namespace alive that is to end with its program, and nobody flushes rules there.
 */
import { spawn } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ToolRun } from './tool.ts';

export interface RulesKeeperOptions {
  /** Ours alone, kept over restarts. */
  readonly directory: string;
}

/** What the script is called by, in its command line. */
const MARK = 'moat-rules';
/** `$1` = the table and its interface, `$2` = the file of its rules. Without rules and without a way to write them: down. */
const SCRIPT = `check() {
  [ ! -f "$2" ] || nft list table inet "$1" >/dev/null 2>&1 || nft -f "$2" || ip link set dev "$1" down
}
while [ -f "$2" ]; do
  nft -j monitor destroy tables | while read -r line && [ -f "$2" ]; do
    case "$line" in *"\\"$1\\""*) check "$1" "$2" ;; esac
  done
  check "$1" "$2"
  sleep 1
done`;

export class RulesKeeper {
  readonly #directory: string;

  constructor({ directory }: RulesKeeperOptions) {
    this.#directory = directory;
  }

  /**
   * From now on the table `name` is what `run` writes: to be called before it is written, so that what is put back is never
   * older than what stood. Never rejects: where the file cannot be written, nothing is put back.
   */
  async keep(name: string, { input = '' }: ToolRun): Promise<void> {
    try {
      const file = this.#file(name, 'nft');
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      if ((await readFile(file, 'utf8').catch(() => undefined)) !== input) {
        await writeFile(`${file}.new`, input, { mode: 0o600 });
        await rename(`${file}.new`, file);
      }
      if ((await this.#running(name)) === undefined) await this.#start(name);
    } catch {
      await this.end(name);
    }
  }

  /** Puts nothing back any more. Never rejects. */
  async end(name: string): Promise<void> {
    const pid = await this.#running(name);
    try {
      // It leads a group of its own: what it waits for goes with it.
      if (pid !== undefined) process.kill(-pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
    for (const what of ['nft', 'pid'] as const)
      await rm(this.#file(name, what), { force: true }).catch(() => undefined);
  }

  async #start(name: string): Promise<void> {
    const child = spawn('sh', ['-c', SCRIPT, MARK, name, this.#file(name, 'nft')], {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
      cwd: '/',
      detached: true,
    });
    child.on('error', () => undefined);
    child.unref();
    if (child.pid !== undefined) await writeFile(this.#file(name, 'pid'), String(child.pid), { mode: 0o600 });
  }

  /** Its process, while it is still the one that was started. */
  async #running(name: string): Promise<number | undefined> {
    try {
      const pid = Number(await readFile(this.#file(name, 'pid'), 'utf8'));
      const line = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
      const at = line.indexOf(MARK);
      return pid > 1 && at > 0 && line[at + 1] === name && line[at + 2] === this.#file(name, 'nft') ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  #file(name: string, what: 'nft' | 'pid'): string {
    return join(this.#directory, `${name}.${what}`);
  }
}
