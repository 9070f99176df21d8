/** YAML text as a plain value whose every part knows its line and column. Hostile text costs little. */
import {
  LineCounter,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  parseDocument,
  type Document,
  type Node,
  type Pair,
} from 'yaml';
import { MAX_CONTRACT_BYTES } from '../limits.ts';
import { MAX_DIAGNOSTICS, type FieldPath, type Position } from './diagnostic.ts';

const MAX_DEPTH = 16;
/** After aliases are followed: an alias bomb ends here. */
const MAX_NODES = 500_000;
const TOO_MUCH = 'nested too deep, or too large with its aliases';

/** Where the parser's own sentence would mislead. */
const PLAIN_WORDS: ReadonlyMap<string, string> = new Map([
  ['RESOURCE_EXHAUSTION', TOO_MUCH],
  ['MULTIPLE_DOCS', 'a second document begins here; a file holds one'],
]);

/** What is wrong before the value can be looked at. */
export interface DocumentProblem extends Position {
  readonly code: 'FILE_TOO_LARGE' | 'FILE_SYNTAX' | 'DUPLICATE';
  readonly message: string;
  readonly path: FieldPath;
}

export interface SourceDocument {
  /** Objects without a prototype, arrays, strings, numbers, booleans, null. */
  readonly value: unknown;
  readonly problems: readonly DocumentProblem[];
  /** Where a field's value is (its name, if the value is empty), or of what of the path exists. */
  readonly locate: (path: FieldPath) => Position;
  /** Where a field's name is. */
  readonly locateKey: (path: FieldPath) => Position;
}

/** Reads a file's text: one YAML 1.2 document (JSON is one too) of at most 1 MiB. Never throws. */
export function readDocument(text: string): SourceDocument {
  if (Buffer.byteLength(text) > MAX_CONTRACT_BYTES) {
    return unreadable({ code: 'FILE_TOO_LARGE', message: 'the file is larger than 1 MiB' });
  }
  const lines = new LineCounter();
  let document: Document.Parsed;
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      stringKeys: true,
      // yaml compares each key with all before it: quadratic. The reader below looks them up in a set.
      uniqueKeys: false,
      resolveKnownTags: false,
    });
  } catch {
    // No YAML is known that makes the parser throw; a file that does is no reason to end the process.
    return unreadable({ code: 'FILE_SYNTAX', message: 'not YAML' });
  }
  const reader = new Reader(document, lines);
  for (const { pos, code, message } of [...document.errors, ...document.warnings].slice(0, MAX_DIAGNOSTICS)) {
    reader.problem('FILE_SYNTAX', PLAIN_WORDS.get(code) ?? message.split('\n', 1)[0] ?? message, pos[0], []);
  }
  const value = reader.problems.length > 0 ? undefined : reader.read(document.contents, [], 0);
  return {
    value,
    problems: reader.problems,
    locate: (path) => reader.locate(path, false),
    locateKey: (path) => reader.locate(path, true),
  };
}

function unreadable(problem: Pick<DocumentProblem, 'code' | 'message'>): SourceDocument {
  const start: Position = { line: 1, col: 1 };
  return {
    value: undefined,
    problems: [{ ...problem, ...start, path: [] }],
    locate: () => start,
    locateKey: () => start,
  };
}

class Reader {
  readonly problems: DocumentProblem[] = [];
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  /** The latest node of each anchor: yaml's own look-up walks the whole document for every alias. */
  readonly #anchors = new Map<string, Node>();
  #nodes = 0;
  #exhausted = false;

  constructor(document: Document.Parsed, lines: LineCounter) {
    this.#document = document;
    this.#lines = lines;
  }

  problem(code: DocumentProblem['code'], message: string, offset: number, path: FieldPath): void {
    this.problems.push({ code, message, ...this.#position(offset), path });
  }

  read(node: Node | null | undefined, path: FieldPath, depth: number): unknown {
    this.#nodes += 1;
    if (this.#exhausted) return null;
    if (this.#nodes > MAX_NODES || depth > MAX_DEPTH) {
      this.#exhausted = true;
      this.problem('FILE_SYNTAX', TOO_MUCH, node?.range?.[0] ?? 0, []);
      return null;
    }
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target !== undefined) return this.read(target, path, depth + 1);
      this.problem(
        'FILE_SYNTAX',
        `nothing before this line is named &${node.source.slice(0, 64)}`,
        node.range?.[0] ?? 0,
        path,
      );
      return null;
    }
    // Before what is inside it, so that an alias to its own anchor ends at the depth limit, not here.
    if (node?.anchor !== undefined) this.#anchors.set(node.anchor, node);
    if (isScalar(node)) return node.value;
    if (isSeq(node)) return node.items.map((item, i) => this.read(asNode(item), [...path, i], depth + 1));
    if (!isMap(node)) return null;
    const value = Object.create(null) as Record<string, unknown>;
    for (const pair of node.items) {
      const key = keyOf(pair);
      if (Object.hasOwn(value, key)) {
        this.problem('DUPLICATE', `${key.slice(0, 64)} is written twice here`, offsetOf(pair.key) ?? 0, [...path, key]);
      }
      // zod leaves it out of records without a word.
      if (key === '__proto__')
        this.problem('FILE_SYNTAX', `${key} is no name`, offsetOf(pair.key) ?? 0, [...path, key]);
      value[key] = this.read(asNode(pair.value), [...path, key], depth + 1);
    }
    return value;
  }

  locate(path: FieldPath, ofKey: boolean): Position {
    let node = this.#follow(this.#document.contents);
    let offset = offsetOf(node) ?? 0;
    for (const [i, part] of path.entries()) {
      const pair = isMap(node) ? node.items.findLast((item) => keyOf(item) === String(part)) : undefined;
      const written = isSeq(node) ? node.items[Number(part)] : pair?.value;
      if (written === undefined && pair === undefined) break;
      const keyOffset = offsetOf(pair?.key);
      offset = offsetOf(written) ?? keyOffset ?? offset;
      const isEmpty = isScalar(written) && written.value === null;
      if ((isEmpty || (ofKey && i === path.length - 1)) && keyOffset !== undefined) offset = keyOffset;
      node = this.#follow(asNode(written));
    }
    return this.#position(offset);
  }

  #follow(node: Node | null | undefined): Node | null | undefined {
    return isAlias(node) ? this.#anchors.get(node.source) : node;
  }

  #position(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), col: Math.max(1, col) };
  }
}

function keyOf(pair: Pair): string {
  const key = isScalar(pair.key) ? pair.key.value : pair.key;
  return typeof key === 'string' ? key : '';
}

function asNode(value: unknown): Node | null {
  return isScalar(value) || isMap(value) || isSeq(value) || isAlias(value) ? value : null;
}

function offsetOf(value: unknown): number | undefined {
  return isPair(value) ? undefined : asNode(value)?.range?.[0];
}
