/** First labels that programs or people take for something of the domain itself, unless gateway.yaml lists others. */

/** What people take for the operator. */
const OFFICES = 'www admin administrator root account accounts billing login signin support moat';
/** Mailboxes that certificate authorities and others write to (RFC 2142, CA/B Baseline Requirements §3.2.2.4.4). */
const MAILBOXES = 'abuse hostmaster noc postmaster security webmaster';
/** Hosts that programs look for by themselves, or that stand for a service of the domain. */
const HOSTS =
  'autoconfig autodiscover dns ftp imap isatap localhost mail mta-sts mx ns ns1 ns2 ns3 ns4 pop smtp webmail wpad';

export const RESERVED: readonly string[] = [OFFICES, MAILBOXES, HOSTS].flatMap((list) => list.split(' '));
