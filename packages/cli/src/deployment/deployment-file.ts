/** moat.yaml from disk, validated; every finding as file:line:col. */
import {
  formatDiagnostic,
  parseDeploymentFile,
  resolveSecrets,
  type DeploymentFile,
  type Diagnostic,
  type ParsedDeploymentFile,
  type SecretsResult,
} from '@moat/contract';
import { MoatError } from '@moat/core';
import { dirname, isAbsolute, join } from 'node:path';
import type { Context } from '../context.ts';
import { readTextFile } from '../input/files.ts';
import type { VerbOption } from '../verb.ts';

const DEFAULT_FILE = 'moat.yaml';

export const FILE_OPTION: VerbOption = {
  flags: '-f, --file <file>',
  text: 'the deployment file',
  preset: DEFAULT_FILE,
  env: 'MOAT_FILE',
};

/** A file without errors. */
export interface ReadDeploymentFile extends Pick<ParsedDeploymentFile, 'locate'> {
  readonly fileName: string;
  readonly file: DeploymentFile;
  readonly warnings: readonly Diagnostic[];
  /** What its lines name by path, for `buildContract`; absent where no file stands behind it. */
  readonly secrets?: SecretsResult['secrets'];
}

/** @throws `FILE_MISSING`, `FILE_INVALID` with every finding */
export async function readDeploymentFile(context: Context, path: string = DEFAULT_FILE): Promise<ReadDeploymentFile> {
  const { diagnostics, file, locate, secrets } = await checkFile(context, path);
  if (file === undefined) throw invalidFile(path, diagnostics);
  return { fileName: path, file, locate, warnings: diagnostics, secrets };
}

/** A file and the files it names, without judging them; `file` is absent when a finding is an error. @throws `FILE_MISSING` */
export async function checkFile(context: Context, path: string): Promise<ParsedDeploymentFile & SecretsResult> {
  const parsed = await parseFile(context, path);
  const { file, locate, diagnostics } = parsed;
  if (file === undefined) return { diagnostics, locate, secrets: new Map() };
  // As docker compose does: paths in a file begin where the file is.
  const read = (named: string): Promise<string> =>
    readTextFile(context.io, isAbsolute(named) ? named : join(dirname(path), named));
  const { secrets, diagnostics: found } = await resolveSecrets(read, { file, locate }, path);
  const all = [...diagnostics, ...found];
  return found.length > 0 ? { diagnostics: all, locate, secrets } : { file, diagnostics: all, locate, secrets };
}

/** What validation says, without judging it. @throws `FILE_MISSING` */
export async function parseFile(
  context: Context,
  path: string,
): Promise<ParsedDeploymentFile & { readonly text: string }> {
  const text = await readTextFile(context.io, path, ['moat init', 'or name yours with --file FILE']);
  return { ...parseDeploymentFile(text, path), text };
}

/** All findings in one error. */
export function invalidFile(path: string, diagnostics: readonly Diagnostic[]): MoatError {
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  const count = errors.length === 1 ? '1 problem' : `${errors.length} problems`;
  return new MoatError('FILE_INVALID', [`${path} has ${count}`, ...errors.map(formatDiagnostic)].join('\n'), {
    details: { file: path, codes: [...new Set(errors.map(({ code }) => code))] },
  });
}
