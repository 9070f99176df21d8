/** A horizontal bar chart as SVG that reads on light and on dark ground. */

export interface Bar {
  readonly label: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
}

const WIDTH = 720;
const LABEL_WIDTH = 170;
const VALUE_WIDTH = 90;
const ROW_HEIGHT = 28;
const HEAD_HEIGHT = 36;

/** Bars with their least and greatest value as a whisker; those of Moat stand out. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const height = HEAD_HEIGHT + bars.length * ROW_HEIGHT + 8;
  const most = Math.max(...bars.map(({ max }) => max), Number.MIN_VALUE);
  const scale = (value: number): number => (value / most) * (WIDTH - LABEL_WIDTH - VALUE_WIDTH);
  const rows = bars.map((bar, i) => {
    const top = HEAD_HEIGHT + i * ROW_HEIGHT;
    const middle = top + ROW_HEIGHT / 2;
    const [from, to] = [LABEL_WIDTH + scale(bar.min), LABEL_WIDTH + scale(bar.max)].map(round);
    const fill = bar.label.startsWith('moat') ? '#2f6fdb' : '#9aa3ad';
    return [
      `<text x="${LABEL_WIDTH - 8}" y="${middle + 4}" text-anchor="end">${escape(bar.label)}</text>`,
      `<rect x="${LABEL_WIDTH}" y="${top + 4}" width="${round(scale(bar.value))}" height="${ROW_HEIGHT - 8}" rx="2" fill="${fill}"/>`,
      `<path d="M${from} ${middle}H${to}M${from} ${middle - 4}v8M${to} ${middle - 4}v8" stroke="#5b6570" fill="none"/>`,
      `<text x="${(to ?? 0) + 8}" y="${middle + 4}">${bar.value >= 100 ? bar.value.toFixed(0) : bar.value.toPrecision(3)}</text>`,
    ].join('');
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(title)}">`,
    '<style>text{font:13px sans-serif;fill:#1c2128}@media(prefers-color-scheme:dark){text{fill:#d6dce3}}</style>',
    `<text x="8" y="22" font-weight="bold">${escape(title)}</text>`,
    ...rows,
    '</svg>\n',
  ].join('\n');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
