/** What references of a deployment file are held to: a name leads somewhere, an entry comes once. */
import { tagOf } from '../selector.ts';
import type { FieldPath } from './diagnostic.ts';
import { didYouMean } from './did-you-mean.ts';
import type { DeploymentFile } from './file.ts';
import type { Findings } from './findings.ts';

/** What a selector may name. */
export interface KnownMembers {
  readonly names: ReadonlySet<string>;
  readonly tags: ReadonlySet<string>;
}

/** All that selectors of a file may name. */
export function knownMembers({ members }: DeploymentFile): KnownMembers {
  return { names: new Set(members.map(({ name }) => name)), tags: new Set(members.flatMap(({ tags }) => tags)) };
}

/** Adds what names nobody, or comes twice. @param at where the selector with this index stands. */
export function checkSelectors(
  selectors: readonly string[],
  at: (i: number) => FieldPath,
  { names, tags }: KnownMembers,
  findings: Findings,
): void {
  unique(selectors, at, 'is listed twice', findings);
  for (const [i, selector] of selectors.entries()) {
    const tag = tagOf(selector);
    if (tag === undefined ? names.has(selector) : tags.has(tag)) continue;
    const candidates = [...names, ...[...tags].map((name) => `tag:${name}`)];
    const message = tag === undefined ? `there is no member ${selector}` : `no member has the tag ${tag}`;
    // The commonest slip: a tag without its prefix.
    const hint = tags.has(selector) ? `did you mean tag:${selector}?` : didYouMean(selector, candidates);
    findings.add(at(i), { code: 'REFERENCE_UNKNOWN', message, ...(hint === undefined ? {} : { hint }) });
  }
}

/** Names of the members that any of the selectors names, in the file's order. */
export function membersOf(file: DeploymentFile, selectors: readonly string[]): string[] {
  const wanted = new Set(selectors);
  return file.members
    .filter(({ name, tags }) => wanted.has(name) || tags.some((tag) => wanted.has(`tag:${tag}`)))
    .map(({ name }) => name);
}

/** A name that leads nowhere, with the known one it may have meant. */
export function unknown(
  path: FieldPath,
  message: string,
  word: string,
  known: Iterable<string>,
  findings: Findings,
): void {
  const hint = didYouMean(word, known);
  findings.add(path, { code: 'REFERENCE_UNKNOWN', message, ...(hint === undefined ? {} : { hint }) });
}

/** Adds each value that comes again; absent ones never do. @param at where the value with this index stands. */
export function unique(
  values: readonly (string | undefined)[],
  at: (i: number) => FieldPath,
  message: string,
  findings: Findings,
): void {
  const seen = new Set<string>();
  for (const [i, value] of values.entries()) {
    if (value === undefined) continue;
    if (seen.has(value)) findings.add(at(i), { code: 'DUPLICATE', message: `${value}: ${message}` });
    seen.add(value);
  }
}
