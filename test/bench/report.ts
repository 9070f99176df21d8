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

/** Markdown: a table of all rows, and below it what to know about them. */
export function tableReport(report: Report): string {
  const lines = [
    machineLine(),
    '',
    '| scenario | subject | metric | median | min – max | moat ÷ subject |',
    '| --- | --- | --- | ---: | ---: | ---: |',
    ...report.rows.map(
      (row) =>
        `| ${row.scenario} | ${row.subject} | ${row.metric} | ${figure(row.median)} | ${figure(row.min)} – ${figure(row.max)} | ${row.moatRatio?.toFixed(2) ?? ''} |`,
    ),
    '',
  ];
  for (const { scenario, otherCores, repeated, failed } of report.scenarios) {
    lines.push(`${scenario}: other programs used up to ${otherCores.toFixed(2)} cores, ${repeated} measured again`);
    for (const [subject, reason] of failed) lines.push(`${scenario}: ${subject} failed: ${firstLine(reason)}`);
  }
  lines.push(...report.skipped.map((line) => `skipped ${line}`));
  lines.push(...report.broken.map((line) => `did not start ${line}`));
  return `${lines.join('\n')}\n`;
}

/** One SVG a scenario, of its first metric, named after it. Answers the files. */
export async function writeCharts(report: Report, dir: string): Promise<string[]> {
  await mkdir(dir, { recursive: true });
  const files: string[] = [];
  for (const { scenario } of report.scenarios) {
    const rows = report.rows.filter((row) => row.scenario === scenario);
    const metric = rows[0]?.metric;
    if (metric === undefined) continue;
    const file = join(dir, `${scenario.replaceAll('/', '-')}.svg`);
    const bars = rows
      .filter((row) => row.metric === metric)
      .map((row) => ({ label: row.subject, value: row.median, min: row.min, max: row.max }));
    await writeFile(file, barChart(`${scenario}, ${metric}`, bars));
    files.push(file);
  }
  return files;
}

function machineLine(): string {
  return `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
}

/** Digits that mean something. */
export function figure(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}
