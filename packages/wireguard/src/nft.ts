/** `nft`: one table for an interface, replaced whole in one transaction. */
import { createHash } from 'node:crypto';
import { failure } from './errors.ts';
import type { ToolRun } from './tool.ts';

/** An empty chain of this name says which text the table was made of: also to the next process. */
const MARK = 'moat_';
/** The mark of a table that lets nothing pass. */
const CLOSED = 'closed';

/** What a table made of these chains is marked with. */
export function rulesDigest(chains: string): string {
  return createHash('sha256').update('moat/rules/1\0').update(chains).digest('hex').slice(0, 32);
}

/** Mark of each table that `nft -j list chains inet` printed; null = not ours. @throws `TUNNEL_FAILED` when it is something else. */
export function parseNftMarks(text: string): ReadonlyMap<string, string | null> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw failure('TUNNEL_FAILED', 'nft printed what is not JSON', { cause: error });
  }
  const list = isRecord(value) ? value['nftables'] : undefined;
  if (!Array.isArray(list)) throw strange();
  const marks = new Map<string, string | null>();
  for (const entry of list) {
    const chain = isRecord(entry) ? entry['chain'] : undefined;
    if (chain === undefined) continue;
    if (!isRecord(chain)) throw strange();
    const { table, name, family } = chain;
    if (typeof table !== 'string' || typeof name !== 'string') throw strange();
    if (family !== 'inet') continue;
    marks.set(table, name.startsWith(MARK) ? name.slice(MARK.length) : (marks.get(table) ?? null));
  }
  return marks;
}

export function showMarks(namespace: string | null): ToolRun {
  return { tool: 'nft', args: ['-j', 'list', 'chains', 'inet'], namespace };
}

/** The transaction that puts these chains in the place of whatever the table held. */
export function replaceTable(name: string, chains: string, namespace: string | null): ToolRun {
  return transaction(name, rulesDigest(chains), chains, namespace);
}

/** The transaction after which nothing comes in by the interface and nothing leaves by it. */
export function closeTable(name: string, namespace: string | null): ToolRun {
  const chains = `chain arriving {
  type filter hook prerouting priority -400; policy accept;
  iifname "${name}" drop
}
chain leaving {
  type filter hook postrouting priority 400; policy accept;
  oifname "${name}" drop
}`;
  return transaction(name, CLOSED, chains, namespace);
}

export function removeTable(name: string, namespace: string | null): ToolRun {
  return { tool: 'nft', args: ['-f', '-'], input: `table inet ${name} {\n}\ndelete table inet ${name}\n`, namespace };
}

function transaction(name: string, mark: string, chains: string, namespace: string | null): ToolRun {
  const input = `table inet ${name} {
}
delete table inet ${name}
table inet ${name} {
chain ${MARK}${mark} {
}
${chains}
}
`;
  return { tool: 'nft', args: ['-f', '-'], input, namespace };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function strange(): Error {
  return failure('TUNNEL_FAILED', 'nft printed what this version does not understand');
}
