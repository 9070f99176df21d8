/** A QR code made of text: two rows of modules a line, dark on light whatever the terminal's colours. */
import qrcode from 'qrcode-generator';
import { MoatError } from '@moat/core';

/** Light modules around the code (ISO/IEC 18004 §5.3.8). */
const QUIET = 4;

/** @throws `QR_TOO_LONG` for more than about 2900 bytes */
export function drawQr(text: string): string {
  const code = qrcode(0, 'L');
  code.addData(text, 'Byte');
  try {
    code.make();
  } catch (cause) {
    throw new MoatError('QR_TOO_LONG', 'the text is too long for a QR code', {
      next: ['leave --qr out, and carry the file over'],
      cause,
    });
  }
  const size = code.getModuleCount();
  const isDark = (row: number, column: number): boolean =>
    row >= 0 && column >= 0 && row < size && column < size && code.isDark(row, column);
  const lines: string[] = [];
  for (let row = -QUIET; row < size + QUIET; row += 2) {
    let line = '';
    for (let column = -QUIET; column < size + QUIET; column++) {
      line += isDark(row, column) ? (isDark(row + 1, column) ? ' ' : '▄') : isDark(row + 1, column) ? '▀' : '█';
    }
    lines.push(line);
  }
  return lines.map((line) => `\u001B[37;40m${line}\u001B[0m`).join('\n');
}
