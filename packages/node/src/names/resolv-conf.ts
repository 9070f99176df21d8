/** /etc/resolv.conf as text: what it says, and how ours is made of it. Pure. */
import { isIP } from 'node:net';

/** First line of a file of ours: who wrote it and how to get rid of it. */
export const MARK = '# moat: made by `moat node dns install`; `moat node dns uninstall` puts back what was here';
/** The C library looks at no more. */
const MAX_SERVERS = 3;
/** Programs that write the file again whenever they like, by what they put into its comments. */
const WRITERS = ['NetworkManager', 'resolvconf', 'dhcpcd', 'systemd-resolved', 'netconfig', 'tailscale', 'connman'];

/** The name servers a file lists, in order. */
export function nameserversOf(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const address = /^nameserver\s+(\S+)/.exec(line)?.[1];
    return address !== undefined && isIP(address.replace(/%.*$/, '')) !== 0 ? [address] : [];
  });
}

export function isOurs(text: string): boolean {
  return text.startsWith(MARK);
}

/** Who writes this file, by its comments; undefined for one written by hand. */
export function writerOf(text: string): string | undefined {
  const comments = text.split('\n').filter((line) => /^\s*[#;]/.test(line));
  return WRITERS.find((name) => comments.some((line) => line.toLowerCase().includes(name.toLowerCase())));
}

/**
 * The same file with our DNS in front. The servers that were there stay behind it: while the agent is down, the
 * C library goes on to them at once.
 */
export function withServer(text: string, address: string): string {
  const behind = nameserversOf(text).slice(0, MAX_SERVERS - 1);
  const rest = text.split('\n').filter((line) => !/^nameserver\s/.test(line));
  return [MARK, ...[address, ...behind].map((server) => `nameserver ${server}`), ...rest].join('\n').trimEnd() + '\n';
}
