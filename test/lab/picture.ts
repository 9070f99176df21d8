/** A drawing of a lab for somebody who looks at a failed case: who stands behind whom, and which packets were seen where. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RouterKind } from './nat.ts';
import type { Flow, Wire } from './wire.ts';

export interface Picture {
  readonly text: string;
  readonly svg: string;
}

/** Flows shown for a wire, the busiest. */
const SHOWN = 12;
const [LINE_HEIGHT, BOX_WIDTH, INDENT] = [15, 150, 40];

interface Row {
  readonly depth: number;
  readonly title: string;
  readonly summary: string;
  readonly flows: readonly string[];
}

/** @param routers kind of each router; whatever else has a wire is a host */
export function pictureOf(routers: ReadonlyMap<string, RouterKind>, wires: readonly Wire[]): Picture {
  const rows: Row[] = [];
  const draw = (to: string | null, depth: number): void => {
    for (const wire of wires) {
      if (wire.to !== to) continue;
      const isCurrent = wires.findLast(({ owner }) => owner === wire.owner) === wire;
      rows.push(rowOf(wire, depth, routers.get(wire.owner), isCurrent));
      if (isCurrent) draw(wire.owner, depth + 1);
    }
  };
  draw(null, 0);
  return { text: textOf(rows), svg: svgOf(rows) };
}

function rowOf(wire: Wire, depth: number, kind: RouterKind | undefined, isCurrent: boolean): Row {
  const { up, down } = wire.passed();
  const total = (flows: readonly Flow[]): string =>
    `${flows.reduce((sum, { packets }) => sum + packets, 0)} packets, ${flows.reduce((sum, { bytes }) => sum + bytes, 0)} B`;
  const line = (arrow: string, flow: Flow): string =>
    `${arrow} ${flow.protocol} ${flow.from} -> ${flow.to}  ${flow.packets} packets, ${flow.bytes} B`;
  return {
    depth,
    title: `${wire.owner}${kind === undefined ? '' : ` (${kind})`}${isCurrent ? '' : ' before it moved'}`,
    summary: `up ${total(up)}; down ${total(down)}`,
    flows: [
      ...up.slice(0, SHOWN).map((flow) => line('up  ', flow)),
      ...down.slice(0, SHOWN).map((flow) => line('down', flow)),
    ],
  };
}

function textOf(rows: readonly Row[]): string {
  const lines = rows.flatMap(({ depth, title, summary, flows }) => {
    const margin = '  '.repeat(depth + 1);
    return [`${margin}- ${title}: ${summary}`, ...flows.map((flow) => `${margin}    ${flow}`)];
  });
  return `internet (203.0.113.0/24)\n${lines.join('\n')}\n`;
}

function svgOf(rows: readonly Row[]): string {
  const escape = (text: string): string =>
    text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  const text = (x: number, y: number, content: string, more = ''): string =>
    `<text x="${x}" y="${y}" ${more}>${escape(content)}</text>`;
  const parts = [text(10, 20, 'internet 203.0.113.0/24', 'font-weight="bold"')];
  /** Where the box of each depth ends, for the cable to those behind it. */
  const bottoms = [26];
  let y = 40;
  for (const { depth, title, summary, flows } of rows) {
    const x = 20 + depth * INDENT;
    parts.push(
      `<path d="M${x - 12} ${bottoms[depth] ?? 26} V${y + 12} H${x}" fill="none" stroke="#888"/>`,
      `<rect x="${x}" y="${y}" width="${BOX_WIDTH}" height="24" rx="4" fill="#eef" stroke="#446"/>`,
      text(x + 6, y + 16, title),
      text(x + BOX_WIDTH + 10, y + 16, summary),
      ...flows.map((flow, i) => text(x + BOX_WIDTH + 10, y + 16 + (i + 1) * LINE_HEIGHT, flow, 'fill="#555"')),
    );
    bottoms[depth + 1] = y + 24;
    y += 34 + flows.length * LINE_HEIGHT;
  }
  const size = `width="900" height="${y + 10}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="monospace" font-size="11"><rect ${size} fill="#fff"/>\n${parts.join('\n')}\n</svg>\n`;
}

/** Runs a case; when it fails, draws the lab into a new folder and says so in the failure. */
export async function pictured(
  lab: { readonly picture: () => Picture },
  name: string,
  body: () => Promise<void>,
): Promise<void> {
  try {
    await body();
  } catch (cause) {
    const folder = await mkdtemp(join(tmpdir(), 'moat-picture-'));
    const { text, svg } = lab.picture();
    const file = join(folder, name.replaceAll(/[^\w]+/g, '-'));
    await Promise.all([writeFile(`${file}.txt`, text), writeFile(`${file}.svg`, svg)]);
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${said}\nwhich packets were seen where: ${file}.svg and .txt`, { cause });
  }
}
