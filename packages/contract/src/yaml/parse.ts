/** A deployment file's first three passes: syntax, schema, references. The fourth is `resolveOnline`. */
import type { Diagnostic, FieldPath, Position } from './diagnostic.ts';
import { readDocument } from './document.ts';
import type { DeploymentFile } from './file.ts';
import { Findings } from './findings.ts';
import { checkReferences } from './references.ts';
import { checkSchema } from './schema-pass.ts';
import { spellOut } from './spell-out.ts';

export interface ParsedDeploymentFile {
  /** Absent when a diagnostic is an error. */
  readonly file?: DeploymentFile;
  /** In the order of the text, of one pass. */
  readonly diagnostics: readonly Diagnostic[];
  /** Where a field stands, for findings made later. */
  readonly locate: (path: FieldPath) => Position;
}

/**
 * Validates a file's text, at most 1 MiB of YAML. A pass with errors ends it, since the next would only
 * repeat them. Never throws.
 * @param fileName as diagnostics show it.
 */
export function parseDeploymentFile(text: string, fileName: string): ParsedDeploymentFile {
  const source = readDocument(text);
  const { locate } = source;

  const syntax = new Findings(fileName, source, 'syntax');
  for (const { code, message, path, line, col } of source.problems) {
    syntax.addAt({ line, col }, path, { code, message });
  }
  if (source.problems.length > 0) return { diagnostics: syntax.list(), locate };

  const schema = new Findings(fileName, source, 'schema');
  const raw = checkSchema(source, schema);
  if (raw === undefined) return { diagnostics: schema.list(), locate };

  const references = new Findings(fileName, source, 'references');
  const file = spellOut(raw);
  checkReferences(file, references);
  const diagnostics = references.list();
  const failed = diagnostics.some(({ severity }) => severity === 'error');
  return { ...(failed ? {} : { file }), diagnostics, locate };
}
