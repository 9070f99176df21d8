/**
 * Edge rules of a publish line: what a gateway does with requests under its name besides passing them on. They are signed
 * with the publication, so a gateway shows what it was told, and members see it.
 */
import type { PublishLine, Service } from './schema.ts';

/** So many requests in so much time; as many may come at once. */
export interface RequestRate {
  readonly count: number;
  /** Milliseconds: of a second, a minute or an hour. */
  readonly perMs: 1_000 | 60_000 | 3_600_000;
}

/** Names in lower case; those about the connection or the framing cannot be named. */
export interface HeaderChanges {
  /** Replaces what is there. */
  readonly set?: Readonly<Record<string, string>>;
  readonly remove?: readonly string[];
}

/** Requests whose path begins with `prefix`, at a segment's end, go to another service; the longest prefix wins. */
export interface PathRule {
  readonly prefix: string;
  readonly service: string;
  /** The service sees the path without the prefix. */
  readonly strip?: true;
}

/** So many percent of clients go to another service. */
export interface Split {
  readonly service: string;
  readonly percent: number;
}

export interface PublishRules {
  /** Of one client address, and of all together. */
  readonly rate?: { readonly each?: RequestRate; readonly all?: RequestRate };
  /** Requests in work at once. */
  readonly concurrency?: number;
  /** Addresses of clients; what `deny` names is out, and with `allow` what it does not name. */
  readonly from?: { readonly allow?: readonly string[]; readonly deny?: readonly string[] };
  readonly headers?: { readonly request?: HeaderChanges; readonly response?: HeaderChanges };
  /** Every request is answered with this place; a `/` at its end is replaced by the path asked for. */
  readonly redirect?: { readonly to: string; readonly status: 301 | 302 | 307 | 308 };
  readonly compress?: true;
  readonly maxBodyBytes?: number;
  readonly paths?: readonly PathRule[];
  readonly split?: readonly Split[];
  /** A client stays with the member that answered it first, by a cookie. */
  readonly sticky?: true;
  /** Other members tried after one failed, where nothing can happen twice. */
  readonly retries?: number;
  /** After so many failures in a row a member gets nothing for so long. */
  readonly breaker?: { readonly failures: number; readonly openMs: number };
  /** Every request is answered 503. */
  readonly maintenance?: { readonly message?: string; readonly retryAfterMs?: number };
  /** Members count what comes from gateways too, each for itself: `rate` and `concurrency`, whatever the gateway does. */
  readonly enforce?: 'member';
}

/** Rules that need a gateway to read http; the others work for any bytes. */
const HTTP_RULES = [
  'rate',
  'headers',
  'redirect',
  'compress',
  'maxBodyBytes',
  'paths',
  'split',
  'sticky',
  'retries',
  'breaker',
  'maintenance',
  'enforce',
] as const satisfies readonly (keyof PublishRules)[];

/** What rules are judged by. */
export interface RuleContext {
  readonly service: Pick<Service, 'protocol'>;
  readonly tls: PublishLine['tls'];
  readonly services: ReadonlyMap<string, Pick<Service, 'protocol'>>;
}

/** A rule that does not fit its line. */
export interface RuleProblem {
  readonly rule: keyof PublishRules;
  readonly kind: 'unfit' | 'unknown';
  readonly message: string;
}

/** What a schema cannot say. */
export function ruleProblem(
  rules: PublishRules | undefined,
  { service, tls, services }: RuleContext,
): RuleProblem | undefined {
  if (rules === undefined) return undefined;
  const reads = tls === 'terminate' && service.protocol !== 'tcp';
  const unfit = reads ? undefined : HTTP_RULES.find((rule) => rules[rule] !== undefined);
  if (unfit !== undefined) {
    return { rule: unfit, kind: 'unfit', message: 'needs a gateway that ends TLS, and an http service' };
  }
  for (const rule of ['paths', 'split'] as const) {
    for (const { service: name } of rules[rule] ?? []) {
      const other = services.get(name);
      if (other === undefined) return { rule, kind: 'unknown', message: `there is no service ${name}` };
      if (other.protocol === 'tcp' || other.protocol === 'udp')
        return { rule, kind: 'unfit', message: `${name} is no http service` };
    }
  }
  return undefined;
}

/** Services that a publish line leads to: its own first. */
export function servicesOfLine({ service, rules }: Pick<PublishLine, 'service' | 'rules'>): string[] {
  return [service, ...otherServicesOf(rules).filter((other) => other !== service)];
}

/** Services that rules lead to besides the line's own, each once, sorted. */
export function otherServicesOf(rules: PublishRules | undefined): string[] {
  const named = [...(rules?.paths ?? []), ...(rules?.split ?? [])].map(({ service }) => service);
  return [...new Set(named)].sort();
}
