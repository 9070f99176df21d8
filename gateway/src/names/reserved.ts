/** First labels that programs or people take for something of the domain itself, unless gateway.yaml lists others. */
import { isUnderDomain } from './host.ts';

/** What people take for the operator. */
const OFFICES = 'www admin administrator root account accounts billing login signin support moat';
/** Mailboxes that certificate authorities and others write to (RFC 2142, CA/B Baseline Requirements §3.2.2.4.4). */
const MAILBOXES = 'abuse hostmaster noc postmaster security webmaster';
/** Hosts that programs look for by themselves, or that stand for a service of the domain. */
const HOSTS =
  'autoconfig autodiscover dns ftp imap isatap localhost mail mta-sts mx ns ns1 ns2 ns3 ns4 pop smtp webmail wpad';

/** What `names.reserved` is when gateway.yaml does not say. */
export const RESERVED: readonly string[] = [OFFICES, MAILBOXES, HOSTS].flatMap((list) => list.split(' '));

/** What nobody gets without the operator's word: the list, and the gateway's own name servers. */
export function reservedLabels({
  domain,
  reservedNames,
  dns,
}: {
  readonly domain: string;
  readonly reservedNames: readonly string[];
  readonly dns: { readonly server: { readonly ns: readonly string[] } | undefined };
}): string[] {
  const own = (dns.server?.ns ?? []).filter((name) => isUnderDomain(name, domain));
  return [...reservedNames, ...own.map((name) => name.slice(0, -domain.length - 1))];
}
