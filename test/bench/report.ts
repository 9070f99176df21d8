/** What came out: a table for people, JSON for programs, a chart a scenario. */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { barChart } from './chart.ts';
import type { RoundsResult, Row } from './rounds.ts';

export interface Report {
  readonly rows: readonly Row[];
  readonly scenarios: readonly RoundsResult[];
  /** `subject: why`, of those that cannot run here. */
  readonly skipped: readonly string[];
  /** `subject: why`, of those that should have started and did not. */
  readonly broken: readonly string[];
}

/** The JSON of `--json`; `rows` is what other programs read. */
export function jsonReport(report: Report): string {
  return JSON.stringify({
    kind: 'bench',
    version: 1,
    rows: report.rows,
    machine: machineLine(),
    conditions: report.scenarios.map(({ scenario, otherCores, repeated, failed }) => ({
      scenario,
      otherCores: Number(otherCores.toFixed(2)),
      repeated,
      failed: Object.fromEntries(failed),
    })),
    skipped: report.skipped,
    broken: report.broken,
  });
}

/** Markdown: a table a scenario, and below each what to know about it. */
export function tableReport(report: Report): string {
  const lines = [machineLine(), '', 'median (min – max), and moat ÷ subject'];
  for (const result of report.scenarios) {
    const rows = report.rows.filter(({ scenario }) => scenario === result.scenario);
    const metrics = [...new Set(rows.map(({ metric }) => metric))];
    lines.push('', `## ${result.scenario}`, '', cells(['', ...metrics]), cells(['---', ...metrics.map(() => '---:')]));
    for (const subject of new Set(rows.map((row) => row.subject))) {
      const values = metrics.map((metric) =>
        cell(rows.find((row) => row.subject === subject && row.metric === metric)),
      );
      lines.push(cells([subject, ...values]));
    }
    const { otherCores, repeated, failed } = result;
    lines.push('', `other programs used up to ${otherCores.toFixed(2)} cores, ${repeated} measured again`);
    for (const [subject, reason] of failed) lines.push(`${subject} failed: ${firstLine(reason)}`);
  }
  lines.push('', ...report.skipped.map((line) => `skipped ${line}`));
  lines.push(...report.broken.map((line) => `did not start ${line}`));
  return `${lines.join('\n')}\n`;
}

function cells(texts: readonly string[]): string {
  return `| ${texts.join(' | ')} |`;
}

function cell(row: Row | undefined): string {
  if (!row) return '';
  const ratio = row.moatRatio === undefined ? '' : ` ×${row.moatRatio.toFixed(2)}`;
  return `${figure(row.median)} (${figure(row.min)} – ${figure(row.max)})${ratio}`;
}

/** `bench.json`, and one SVG a scenario, of its first metric, named after it. */
export async function writeReport(report: Report, dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, 'bench.json'), `${jsonReport(report)}\n`);
  for (const { scenario } of report.scenarios) {
    const rows = report.rows.filter((row) => row.scenario === scenario);
    const metric = rows[0]?.metric;
    if (metric === undefined) continue;
    const file = join(dir, `${scenario.replaceAll('/', '-')}.svg`);
    const bars = rows
      .filter((row) => row.metric === metric)
      .map((row) => ({ label: row.subject, value: row.median, min: row.min, max: row.max }));
    await writeFile(file, barChart(`${scenario}, ${metric}`, bars));
  }
}

function machineLine(): string {
  return `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
}

/** Digits that mean something. */
function figure(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}
