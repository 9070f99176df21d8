/** moat.yaml from disk, validated; every finding as file:line:col. */
import {
  formatDiagnostic,
  parseDeploymentFile,
  type DeploymentFile,
  type Diagnostic,
  type ParsedDeploymentFile,
} from '@moat/contract';
import { MoatError } from '@moat/core';
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
}

/** @throws `FILE_MISSING`, `FILE_INVALID` with every finding */
export async function readDeploymentFile(context: Context, path: string = DEFAULT_FILE): Promise<ReadDeploymentFile> {
  const { diagnostics, file, locate } = await parseFile(context, path);
  if (file === undefined) throw invalidFile(path, diagnostics);
  return { fileName: path, file, locate, warnings: diagnostics };
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
