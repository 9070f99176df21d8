/** Where the public says that a name does harm: a page on the gateway's own domain, and a line where a name was suspended. */
import { escapeHtml, htmlPage } from './page.ts';

/** The operator's contact; one of both at least. */
export interface AbuseContact {
  readonly email?: string | undefined;
  readonly url?: string | undefined;
}

/** Of the page, on the gateway's domain. */
export const ABUSE_PATH = '/.well-known/moat/abuse';

/** Whole page for whoever wants to report a name. */
export function abusePage(domain: string, contact: AbuseContact): string {
  return htmlPage(
    'Report abuse',
    `<p>Names under <code>${escapeHtml(domain)}</code> lead to services of other people; this gateway carries them.
If one of them does harm, tell the operator of the gateway: its address, what you saw, and when.</p>
<p>${contactLinks(contact)}</p>`,
  );
}

/** A sentence for the page of a suspended name; empty without a contact. */
export function abuseLine(contact: AbuseContact | undefined): string {
  return contact === undefined ? '' : `<p>Questions and reports: ${contactLinks(contact)}</p>\n`;
}

function contactLinks({ email, url }: AbuseContact): string {
  const links = [
    ...(email === undefined ? [] : [link(`mailto:${email}`, email)]),
    ...(url === undefined ? [] : [link(url, url)]),
  ];
  return links.join(' · ');
}

function link(target: string, text: string): string {
  return `<a href="${escapeHtml(target)}">${escapeHtml(text)}</a>`;
}
