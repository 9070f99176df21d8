/**
 * A small internet of network namespaces: one public segment (203.0.113.0/24), and homes behind routers that let
 * connections out and none in (endpoint-independent mapping, RFC 4787). Root only; everything goes with it.
 */
import { execFileSync } from 'node:child_process';

/** Why the lab cannot run here; false when it can. */
export function labSkip(): string | false {
  if (process.getuid?.() !== 0) return 'the lab needs root for network namespaces';
  for (const tool of ['ip', 'nft']) {
    try {
      execFileSync(tool, ['-V'], { stdio: 'ignore' });
    } catch {
      return `the lab needs ${tool}`;
    }
  }
  return false;
}

export class Internet implements Disposable {
  readonly #prefix = `moat${process.pid}`;
  readonly #namespaces: string[] = [];
  readonly #nets = new Map<string, string>();
  #homes = 0;

  constructor() {
    this.#add('inet');
    this.#ip('inet', 'link', 'add', 'name', 'br0', 'type', 'bridge');
    this.#ip('inet', 'link', 'set', 'br0', 'up');
  }

  /** Full name of a namespace, for `ip netns exec`. */
  namespace(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  /** A host with the public address 203.0.113.`last`. */
  addPublicHost(name: string, last: number): string {
    this.#add(name);
    this.#plug(name, last);
    return `203.0.113.${last}`;
  }

  /** A host alone behind its own router, whose public address is 203.0.113.`last`. */
  addHome(name: string, last: number): void {
    const router = `${name}-r`;
    const net = `192.168.${++this.#homes}`;
    this.#add(name);
    this.#add(router);
    this.#plug(router, last);
    this.#run('ip', [
      'link',
      'add',
      'lan',
      'netns',
      this.namespace(router),
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      this.namespace(name),
    ]);
    this.#ip(router, 'addr', 'add', `${net}.1/24`, 'dev', 'lan');
    this.#ip(router, 'link', 'set', 'lan', 'up');
    this.#ip(name, 'addr', 'add', `${net}.2/24`, 'dev', 'eth0');
    this.#ip(name, 'link', 'set', 'eth0', 'up');
    this.#ip(name, 'route', 'add', 'default', 'via', `${net}.1`);
    this.#run('ip', ['netns', 'exec', this.namespace(router), 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    // nft 1.0.6 wants a newline before each closing brace, and `fwd` and `in` are keywords.
    this.#nets.set(name, net);
    const rules = `table ip nat {
      chain prer {
        type nat hook prerouting priority -100
      }
      chain postr {
        type nat hook postrouting priority 100
        oifname "wan" masquerade
      }
    }
    table ip filt {
      chain direct {
      }
      chain forward_f {
        type filter hook forward priority 0; policy drop;
        jump direct
        ct state established,related accept
        iifname "lan" accept
      }
      chain input_f {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname "lan" accept
      }
    }`;
    this.#nft(router, rules);
  }

  /** Gives a public host another address on the segment, as a new lease would. */
  renumber(name: string, last: number): void {
    this.#ip(name, 'addr', 'flush', 'dev', 'wan');
    this.#ip(name, 'addr', 'add', `203.0.113.${last}/24`, 'dev', 'wan');
    this.joinMulticast(name);
  }

  /** One more address for a public host; those it has stay. */
  addAddress(name: string, last: number): void {
    this.#ip(name, 'addr', 'add', `203.0.113.${last}/24`, 'dev', 'wan');
  }

  /** Multicast leaves by the segment, as it does where there is a default route. */
  joinMulticast(name: string): void {
    this.#ip(name, 'route', 'replace', '224.0.0.0/4', 'dev', 'wan');
  }

  /** Cuts or mends the line of a home or public host. */
  setLine(name: string, up: boolean): void {
    const owner = this.#namespaces.includes(this.namespace(`${name}-r`)) ? `${name}-r` : name;
    this.#ip('inet', 'link', 'set', `p-${owner}`, up ? 'up' : 'down');
  }

  /** The router of a home passes these TCP ports on to it from now on. */
  forward(name: string, ports: readonly number[]): void {
    const net = this.#nets.get(name) ?? '';
    const list = ports.join(', ');
    this.#nft(
      `${name}-r`,
      `flush chain ip filt direct
      add rule ip filt direct ct status dnat accept
      flush chain ip nat prer
      add rule ip nat prer iifname "wan" tcp dport { ${list} } dnat to ${net}.2
`,
    );
  }

  /** What came over these ports goes nowhere any more, without a word to either side; new connections neither. */
  swallow(name: string, ports: readonly number[]): void {
    const list = ports.join(', ');
    this.#nft(
      `${name}-r`,
      `flush chain ip nat prer
      flush chain ip filt direct
      add rule ip filt direct ct status dnat tcp dport { ${list} } drop
      add rule ip filt direct ct status dnat tcp sport { ${list} } drop
`,
    );
  }

  [Symbol.dispose](): void {
    for (const namespace of this.#namespaces.toReversed()) {
      try {
        execFileSync('ip', ['netns', 'del', namespace], { stdio: 'ignore' });
      } catch {
        continue;
      }
    }
  }

  #add(name: string): void {
    this.#run('ip', ['netns', 'add', this.namespace(name)]);
    this.#namespaces.push(this.namespace(name));
    this.#ip(name, 'link', 'set', 'lo', 'up');
  }

  #plug(name: string, last: number): void {
    this.#run('ip', [
      'link',
      'add',
      'wan',
      'netns',
      this.namespace(name),
      'type',
      'veth',
      'peer',
      'name',
      `p-${name}`,
      'netns',
      this.namespace('inet'),
    ]);
    this.#ip('inet', 'link', 'set', `p-${name}`, 'master', 'br0', 'up');
    this.#ip(name, 'addr', 'add', `203.0.113.${last}/24`, 'dev', 'wan');
    this.#ip(name, 'link', 'set', 'wan', 'up');
  }

  #ip(name: string, ...args: string[]): void {
    this.#run('ip', ['-n', this.namespace(name), ...args]);
  }

  #nft(name: string, rules: string): void {
    this.#run('ip', ['netns', 'exec', this.namespace(name), 'nft', '-f', '-'], rules);
  }

  #run(file: string, args: readonly string[], input = ''): void {
    execFileSync(file, args, { input, stdio: ['pipe', 'ignore', 'pipe'] });
  }
}
