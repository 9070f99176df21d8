/** Network namespaces of one lab: made, configured in one call of `ip` or `nft` each, and removed with what runs in them. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Why the lab cannot run here; false when it can. `more` are programs that one test needs besides. */
export function labSkip(...more: readonly string[]): string | false {
  if (process.getuid?.() !== 0) return 'the lab needs root for network namespaces';
  for (const tool of ['ip', 'nft', ...more]) {
    try {
      execFileSync('sh', ['-c', 'command -v "$0"', tool], { stdio: 'ignore' });
    } catch {
      return `the lab needs ${tool}`;
    }
  }
  return false;
}

/** Labs of one process: two at once must not share names. */
let labs = 0;

export class Namespaces implements Disposable {
  readonly #prefix = `moat${process.pid}${labs++ === 0 ? '' : `x${labs}`}`;
  readonly #made: string[] = [];

  /** Full name of a namespace, for `ip netns exec`. */
  full(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  has(name: string): boolean {
    return this.#made.includes(name);
  }

  /** Makes namespaces with a loopback interface that is up. */
  add(...names: readonly string[]): void {
    this.#run('ip', ['-batch', '-'], names.map((name) => `netns add ${this.full(name)}\n`).join(''));
    for (const name of names) {
      this.#made.push(name);
      this.ip(name, ['link set lo up']);
      // addresses are good at once, and nobody asks for routers that are not there
      this.sysctl(name, ['net.ipv6.conf.default.accept_dad=0', 'net.ipv6.conf.default.router_solicitations=0']);
    }
  }

  /** A virtual cable; each end has a name in a namespace and is up. */
  cable(near: readonly [string, string], far: readonly [string, string]): void {
    const [nearSpace, nearEnd] = near;
    const [farSpace, farEnd] = far;
    this.ip(nearSpace, [
      `link add name ${nearEnd} type veth peer name ${farEnd} netns ${this.full(farSpace)}`,
      `link set ${nearEnd} up`,
    ]);
    this.ip(farSpace, [`link set ${farEnd} up`]);
  }

  /** Commands of `ip` in one namespace, in one call. */
  ip(name: string, commands: readonly string[]): void {
    this.#run('ip', ['-n', this.full(name), '-batch', '-'], `${commands.join('\n')}\n`);
  }

  nft(name: string, rules: string): void {
    this.#run('ip', ['netns', 'exec', this.full(name), 'nft', '-f', '-'], rules);
  }

  /** What `nft -j list …` says. */
  nftJson(name: string, ...what: readonly string[]): unknown {
    return JSON.parse(this.read(name, 'nft', '-j', ...what));
  }

  /** Kernel settings as `key=value`. */
  sysctl(name: string, settings: readonly string[]): void {
    this.read(name, 'sysctl', '-qw', ...settings);
  }

  /** Runs a program in a namespace and returns what it wrote. */
  read(name: string, file: string, ...args: readonly string[]): string {
    return this.#run('ip', ['netns', 'exec', this.full(name), file, ...args]);
  }

  /** Ends the processes of a program in a namespace. */
  kill(name: string, program: string): void {
    for (const pid of this.#run('ip', ['netns', 'pids', this.full(name)]).split('\n')) {
      try {
        if (pid !== '' && readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === program)
          process.kill(Number(pid), 'SIGKILL');
      } catch {
        // it has just ended by itself
      }
    }
  }

  [Symbol.dispose](): void {
    for (const name of this.#made.splice(0).toReversed()) {
      const namespace = this.full(name);
      try {
        for (const pid of this.#run('ip', ['netns', 'pids', namespace]).split('\n')) {
          if (pid !== '') process.kill(Number(pid), 'SIGKILL');
        }
      } catch {
        // what ran there has just ended
      }
      try {
        this.#run('ip', ['netns', 'del', namespace]);
      } catch {
        continue;
      }
    }
  }

  #run(file: string, args: readonly string[], input = ''): string {
    try {
      return execFileSync(file, args, { input, stdio: 'pipe', maxBuffer: 2 ** 26 }).toString();
    } catch (cause) {
      throw new Error(`${file} ${args.join(' ')} failed\n${input}\n${String((cause as { stderr?: unknown }).stderr)}`, {
        cause,
      });
    }
  }
}
