/** One look for every deployment file: what `moat fmt` does. */
import { MoatError } from '@moat/core';
import {
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  parseDocument,
  visit,
  type Document,
  type Pair,
} from 'yaml';
import { readDocument } from './document.ts';

/** Longest entry that stays on one line. */
const MAX_FLOW_CHARS = 110;

/**
 * The same file with even indentation and spacing; comments, blank lines, order and short forms stay as they are.
 * Formatting what is formatted changes nothing.
 * @throws `FILE_SYNTAX`, `FILE_TOO_LARGE`, `DUPLICATE`, with line and column
 */
export function formatDeploymentFile(text: string): string {
  const [problem] = readDocument(text).problems;
  if (problem !== undefined) {
    const { code, message, line, col } = problem;
    throw new MoatError(code, `line ${line}, column ${col}: ${message}`, { details: { line, col } });
  }
  const document = parseDocument(text, { stringKeys: true, uniqueKeys: false, resolveKnownTags: false });
  // Nothing but comments, where yaml would print a null.
  if (document.contents === null || text.trim() === '') return text.trim() === '' ? '' : `${text.trim()}\n`;
  visit(document, {
    Pair: (_, pair) => keepLineComment(pair, text),
  });
  const last = takeLastComment(document, text);
  return printDocument(document) + last;
}

/** The comment after everything else as it is to be printed: yaml would put a blank line before it. */
function takeLastComment(document: Document, text: string): string {
  const { comment } = document;
  if (typeof comment !== 'string') return '';
  document.comment = null;
  const lines = comment.replace(/^\n+/, '').split('\n');
  const above = text
    .trimEnd()
    .split('\n')
    .at(-1 - lines.length);
  const isApart = above !== undefined && above.trim() === '';
  return `${isApart ? '\n' : ''}${lines.map((line) => (line === '' ? '' : `#${line}`)).join('\n')}\n`;
}

/** The one way a deployment file is printed: `{ a: b }`, `[a, b]`, what does not fit a line as a block. */
export function printDocument(document: Document): string {
  visit(document, {
    Collection(_, node, path) {
      if (node.flow === true && widthOf(node) + 2 * path.filter(isCollection).length > MAX_FLOW_CHARS)
        node.flow = false;
      pad(node, isSeq(node) ? '' : ' ');
    },
  });
  return document.toString({ indent: 2, lineWidth: 0, singleQuote: null });
}

/**
 * `members: # places` parses as a comment before the first member and would move a line down; on the key it
 * stays where it was.
 */
function keepLineComment({ key, value }: Pair, text: string): void {
  if (!isScalar(key) || !isCollection(value) || typeof value.commentBefore !== 'string') return;
  const rest = text.slice(key.range?.[1] ?? text.length).split('\n', 1)[0] ?? '';
  if (!/^\s*:\s*#/.test(rest)) return;
  const [first = '', ...others] = value.commentBefore.split('\n');
  key.comment = first;
  value.commentBefore = others.length > 0 ? others.join('\n') : null;
}

/** yaml pads both kinds of brackets or none; here braces are padded and brackets are not. */
function pad(node: { toString: (context?: never, ...rest: never[]) => string }, padding: string): void {
  const print = node.toString;
  node.toString = function (this: unknown, context?: never, ...rest: never[]): string {
    const padded = context === undefined ? context : { ...(context as object), flowCollectionPadding: padding };
    return print.call(this as never, padded as never, ...rest);
  };
}

/** Characters of a node on one line. Of its data, not its layout, so that a second run decides alike. */
function widthOf(node: unknown): number {
  if (isPair(node)) return widthOf(node.key) + widthOf(node.value) + 2;
  if (isMap(node) || isSeq(node))
    return (node.items as unknown[]).reduce<number>((sum, item) => sum + widthOf(item) + 2, 2);
  if (isAlias(node)) return node.source.length + 1;
  return isScalar(node) && node.value !== null ? JSON.stringify(node.value).length : 0;
}
