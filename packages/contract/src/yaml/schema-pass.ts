/** The second pass: every field is known and well-formed. Turns zod's issues into findings people can act on. */
import { didYouMean } from './did-you-mean.ts';
import type { FieldPath } from './diagnostic.ts';
import type { SourceDocument } from './document.ts';
import { fileSchema, knownFields, type RawFile } from './file-schema.ts';
import type { Findings } from './findings.ts';

/** The part of zod's issues that is looked at. */
interface Issue {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly expected?: unknown;
  readonly keys?: readonly string[];
  readonly values?: readonly unknown[];
  readonly errors?: readonly (readonly Issue[])[];
  readonly issues?: readonly Issue[];
  readonly origin?: unknown;
  readonly minimum?: unknown;
  readonly maximum?: unknown;
}

const MAX_ISSUES = 200;

/** The file as written, or undefined when something was found. */
export function checkSchema(source: SourceDocument, findings: Findings): RawFile | undefined {
  let result: ReturnType<typeof fileSchema.safeParse>;
  try {
    result = fileSchema.safeParse(source.value);
  } catch {
    // The schema's own checks compare what has a `length`, whatever it is: an object for one throws.
    findings.add([], {
      code: 'FILE_INVALID',
      message: 'has a field named length with fields of its own; no field is called length',
    });
    return undefined;
  }
  if (result.success) return result.data;
  for (const issue of result.error.issues.slice(0, MAX_ISSUES)) report(issue, [], source.value, findings);
  return undefined;
}

function report(issue: Issue, base: FieldPath, root: unknown, findings: Findings): void {
  const path: FieldPath = [...base, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))];
  const found = valueAt(root, path);
  switch (issue.code) {
    case 'unrecognized_keys':
      for (const key of issue.keys ?? []) reportUnknown(path, key, findings);
      return;
    case 'invalid_key':
      findings.add(path, { code: 'FILE_INVALID', message: issue.issues?.[0]?.message ?? issue.message }, 'key');
      return;
    case 'invalid_union':
      return reportUnion(issue, path, root, findings);
    case 'invalid_value':
      return findings.add(path, badChoice(issue, found));
    case 'invalid_type':
      if (found === undefined) {
        findings.add(path, { code: 'FILE_INVALID', message: 'is missing' });
        return;
      }
      findings.add(path, badType(issue, path, found));
      return;
    case 'too_small':
    case 'too_big':
      findings.add(path, { code: 'FILE_INVALID', message: outOfBounds(issue) });
      return;
    default:
      findings.add(path, { code: 'FILE_INVALID', message: issue.message });
  }
}

function reportUnknown(path: FieldPath, key: string, findings: Findings): void {
  const field = [...path, key];
  const known = knownFields(path);
  const hint = didYouMean(key, known) ?? (known.length > 0 ? `known here: ${known.join(', ')}` : undefined);
  findings.add(
    field,
    { code: 'FIELD_UNKNOWN', message: 'unknown field', ...(hint === undefined ? {} : { hint }) },
    'key',
  );
}

/** Reports the form that was probably meant: the only one whose outer type fits, else all forms at once. */
function reportUnion(issue: Issue, path: FieldPath, root: unknown, findings: Findings): void {
  const meant = (issue.errors ?? []).filter((issues) => !issues.some((one) => isWrongForm(one)));
  const [only] = meant;
  if (valueAt(root, path) === undefined) {
    findings.add(path, { code: 'FILE_INVALID', message: 'is missing' });
    return;
  }
  if (meant.length !== 1 || only === undefined) {
    findings.add(path, { code: 'FILE_INVALID', message: issue.message });
    return;
  }
  for (const inner of only) report(inner, path, root, findings);
}

function isWrongForm(issue: Issue): boolean {
  return issue.code === 'invalid_type' && issue.path.length === 0;
}

function badChoice(issue: Issue, found: unknown): { code: 'FILE_INVALID'; message: string; hint?: string } {
  const values = (issue.values ?? []).map(String);
  const hint = typeof found === 'string' ? didYouMean(found, values) : undefined;
  const message = found === undefined ? `is missing; write ${choice(values)}` : `expected ${choice(values)}`;
  return { code: 'FILE_INVALID', message, ...(hint === undefined ? {} : { hint }) };
}

function badType(
  issue: Issue,
  path: FieldPath,
  found: unknown,
): { code: 'FILE_INVALID'; message: string; hint?: string } {
  const expected = String(issue.expected);
  const message = `expected ${NAMES.get(expected) ?? expected}, found ${describe(found)}`;
  // A name that looks like a number; elsewhere (`maxStale: 2`) quotes would not help.
  const isName = typeof path.at(-1) === 'number' || path.at(-1) === 'name';
  const quote = expected === 'string' && isName && ['number', 'boolean'].includes(typeof found);
  return { code: 'FILE_INVALID', message, ...(quote ? { hint: `write "${String(found)}"` } : {}) };
}

function choice(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}

const NAMES: ReadonlyMap<string, string> = new Map([
  ['string', 'text'],
  ['number', 'a number'],
  ['int', 'a whole number'],
  ['boolean', 'true or false'],
  ['object', 'fields, as { name: value }'],
  ['record', 'names, as { name: … }'],
  ['array', 'a list, as [a, b]'],
]);

function describe(found: unknown): string {
  if (found === null) return 'nothing';
  if (Array.isArray(found)) return 'a list';
  if (typeof found === 'object') return 'fields';
  return typeof found === 'number' || typeof found === 'boolean' ? `the ${typeof found} ${found}` : 'text';
}

function outOfBounds(issue: Issue): string {
  const isSize = issue.origin !== 'number' && issue.origin !== 'int';
  // Rules that say more than a bound come with their own sentence.
  if (!issue.message.startsWith('Too ')) return issue.message;
  if (issue.code === 'too_small') return isSize ? 'is empty' : `is below ${String(issue.minimum)}`;
  return isSize ? `has more than ${String(issue.maximum)} entries` : `is above ${String(issue.maximum)}`;
}

function valueAt(root: unknown, path: FieldPath): unknown {
  let value = root;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string | number, unknown>)[part];
  }
  return value;
}
