/** Who may issue certificates for a name, as its CAA records say it (RFC 8659, RFC 8657). Pure. */

/** One record; always with flags 0. */
export interface CaaRecord {
  readonly tag: 'issue' | 'issuewild';
  readonly value: string;
}

/** An authority that this gateway orders from. */
export interface CaaIssuer {
  /** As the authority's directory lists it in `caaIdentities`, such as `letsencrypt.org`. */
  readonly identity: string;
  /** URL of the gateway's account there; undefined = any account. */
  readonly accountUri: string | undefined;
}

/** Where the records of a name stand. */
export interface CaaName {
  /** `terminate`: the gateway orders the certificate. `passthrough`: the member does, of whom it likes. */
  readonly tls: 'terminate' | 'passthrough';
  /** True where a wildcard certificate is ordered for what lies below: the gateway's domain. */
  readonly wildcard: boolean;
}

/** The records; none = anybody may issue, or what is said above the name counts. */
export function caaRecords(issuers: readonly CaaIssuer[], { tls, wildcard }: CaaName): CaaRecord[] {
  // Without `issue` it restricts nobody, and being there it keeps the domain's own records from counting (RFC 8659 §3).
  if (tls === 'passthrough') return issuers.length === 0 ? [] : [{ tag: 'issuewild', value: ';' }];
  const values = issuers.map(({ identity, accountUri }) =>
    accountUri === undefined ? identity : `${identity}; accounturi=${accountUri}`,
  );
  const issue = values.map((value): CaaRecord => ({ tag: 'issue', value }));
  // Where there is no `issuewild`, `issue` counts for wildcards too.
  return issuers.length === 0 || wildcard ? issue : [...issue, { tag: 'issuewild', value: ';' }];
}

/** The record as a zone file has it: what the holder of a host is shown. */
export function caaText(host: string, { tag, value }: CaaRecord): string {
  return `${host}. CAA 0 ${tag} "${value}"`;
}
