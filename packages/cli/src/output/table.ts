/** Columns that line up, in terminals and in files. */
import { stripVTControlCharacters } from 'node:util';

/** Width in columns; wide enough a guess for names, addresses and marks. */
export function widthOf(text: string): number {
  return [...new Intl.Segmenter().segment(stripVTControlCharacters(text))].length;
}

export function padTo(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)));
}

export interface TableOptions {
  /** Spaces before each line. @defaultValue 0 */
  readonly indent?: number;
}

/** Rows of cells as lines, two spaces between columns, nothing behind the last. */
export function renderTable(rows: readonly (readonly string[])[], options: TableOptions = {}): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, widthOf(cell))));
  const indent = ' '.repeat(options.indent ?? 0);
  return rows
    .map((row) => {
      const last = row.findLastIndex((cell) => cell !== '');
      const cells = row.slice(0, last + 1).map((cell, i) => (i === last ? cell : padTo(cell, widths[i] ?? 0)));
      return `${indent}${cells.join('  ')}`.trimEnd();
    })
    .join('\n');
}
