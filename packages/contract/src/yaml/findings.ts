/** Collects what a pass finds and puts it in the order of the text. */
import {
  MAX_DIAGNOSTICS,
  formatPath,
  type Diagnostic,
  type FieldPath,
  type Position,
  type ValidationPass,
} from './diagnostic.ts';
import type { SourceDocument } from './document.ts';

/** What a rule says; where it stands is looked up. */
export type Finding = Pick<Diagnostic, 'code' | 'message'> & Partial<Pick<Diagnostic, 'severity' | 'hint'>>;

export class Findings {
  readonly #found: Diagnostic[] = [];
  readonly #fileName: string;
  readonly #source: Pick<SourceDocument, 'locate' | 'locateKey'>;
  readonly #pass: ValidationPass;

  constructor(fileName: string, source: Pick<SourceDocument, 'locate' | 'locateKey'>, pass: ValidationPass) {
    this.#fileName = fileName;
    this.#source = source;
    this.#pass = pass;
  }

  /** Against a field's value, or against its name with `at: 'key'`. */
  add(path: FieldPath, finding: Finding, at: 'value' | 'key' = 'value'): void {
    // Beyond the bound nothing is looked up; errors already found decide.
    if (this.#found.length >= MAX_DIAGNOSTICS) return;
    this.addAt(at === 'key' ? this.#source.locateKey(path) : this.#source.locate(path), path, finding);
  }

  /** Where the position is known already. */
  addAt(position: Position, path: FieldPath, finding: Finding): void {
    if (this.#found.length >= MAX_DIAGNOSTICS) return;
    const { severity = 'error', ...rest } = finding;
    this.#found.push({
      file: this.#fileName,
      ...position,
      severity,
      pass: this.#pass,
      path: formatPath(path),
      ...rest,
    });
  }

  /** In the order of the text. */
  list(): Diagnostic[] {
    return this.#found.toSorted((a, b) => a.line - b.line || a.col - b.col);
  }
}
