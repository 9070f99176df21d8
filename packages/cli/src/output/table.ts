/** Columns that line up, in terminals and in files. */
import { stripVTControlCharacters } from 'node:util';

/** Width in columns; wide enough a guess for names, addresses and marks. */
export function widthOf(text: string): number {
  // Nearly every cell, and without ICU: a segmenter takes 10 ms to make.
  if (/^[ -~]*$/.test(text)) return text.length;
  return [...new Intl.Segmenter().segment(stripVTControlCharacters(text))].length;
}

export function padTo(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)));
}

export interface TableOptions {
  /** Spaces before each line. @defaultValue 0 */
  readonly indent?: number;
  /** What is too long for a cell: shown below the row of the same index, indented, its lines broken at words. */
  readonly notes?: readonly (string | undefined)[];
  /** Columns a line of a note may take. @defaultValue 100 */
  readonly width?: number;
}

const NOTE_INDENT = 4;

/** Rows of cells as lines, two spaces between columns, nothing behind the last. */
export function renderTable(rows: readonly (readonly string[])[], options: TableOptions = {}): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, widthOf(cell))));
  const indent = ' '.repeat(options.indent ?? 0);
  return rows
    .map((row, index) => {
      const last = row.findLastIndex((cell) => cell !== '');
      const cells = row.slice(0, last + 1).map((cell, i) => (i === last ? cell : padTo(cell, widths[i] ?? 0)));
      const note = linesOf(options.notes?.[index] ?? '', (options.width ?? 100) - indent.length - NOTE_INDENT);
      return [cells.join('  ').trimEnd(), ...note.map((line) => `${' '.repeat(NOTE_INDENT)}${line}`)]
        .map((line) => `${indent}${line}`.trimEnd())
        .join('\n');
    })
    .join('\n');
}

/** Broken at spaces; a word that is wider stands alone. */
function linesOf(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ').filter((each) => each !== '')) {
    const line = lines.at(-1);
    if (line === undefined || widthOf(line) + 1 + widthOf(word) > width) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}
