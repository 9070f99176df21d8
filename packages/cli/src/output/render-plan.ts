/** Changes like a diff: + added, - removed, ~ changed. */
import type { Change, Contract } from '@moat/contract';
import type { Style } from './style.ts';

export function renderPlan(changes: readonly Change[], from: Contract | null, to: Contract, style: Style): string {
  const title =
    from === null
      ? `${style.bold(to.name)}  a new deployment`
      : `${style.bold(to.name)}  version ${from.version} → ${to.version}`;
  const paint = { add: style.good, remove: style.bad, change: style.warn };
  const mark = { add: '+', remove: '-', change: '~' };
  const lines = changes.map(({ kind, text }) => `  ${paint[kind](`${mark[kind]} ${text}`)}`);
  return [title, ...lines].join('\n');
}
