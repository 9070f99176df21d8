/**
 * What a router says in XML, as far as it matters: elements with text and none inside. Not a parser of XML on purpose: what
 * reads all of it brings entities, document types and depth, which a stranger in the LAN gets to write.
 */
import { MoatError } from '@moat/core';

/** An element that holds text only. */
export interface XmlLeaf {
  /** Without the prefix of its namespace. */
  readonly name: string;
  readonly text: string;
  /** The same number for elements that stand in the same one. */
  readonly parent: number;
}

const [MOST_DEPTH, MOST_ELEMENTS] = [32, 4_096];
/**
 * A declaration, a comment, a tag, or text. Each begins differently and a name is taken whole, so a text is read once from
 * end to end.
 */
const TOKEN =
  /<\?[^>]*\?>|<!--[^]*?-->|<(?<closing>\/?)(?<name>[A-Za-z_][\w.:-]*)(?![\w.:-])(?:"[^"]*"|'[^']*'|[^<>"'])*>|(?<text>[^<]+)/y;
const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

interface Open {
  readonly name: string;
  readonly id: number;
  text: string;
  isLeaf: boolean;
}

/**
 * In the order of the text. References other than the five of XML itself stay as they are written.
 * @throws `ROUTER_INVALID` for a document type, CDATA, tags that do not fit, more than 32 levels or 4,096 elements
 */
export function readLeaves(xml: string): readonly XmlLeaf[] {
  const leaves: XmlLeaf[] = [];
  const open: Open[] = [];
  let elements = 0;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < xml.length) {
    const match = TOKEN.exec(xml);
    if (match === null) throw invalid('the router’s XML cannot be read');
    const { closing, name, text } = match.groups as Record<string, string | undefined>;
    const inner = open.at(-1);
    if (text !== undefined && inner !== undefined) inner.text += text;
    if (name === undefined) continue;
    if (closing === '') {
      elements += 1;
      if (inner !== undefined) inner.isLeaf = false;
      if (elements > MOST_ELEMENTS || open.length === MOST_DEPTH) throw invalid('the router’s XML is too large');
      open.push({ name, id: elements, text: '', isLeaf: true });
    }
    if (closing === '' && !match[0].endsWith('/>')) continue;
    const closed = open.pop();
    if (closed?.name !== name) throw invalid('the router’s XML has tags that do not fit');
    if (!closed.isLeaf) continue;
    leaves.push({ name: localName(name), text: plain(closed.text), parent: open.at(-1)?.id ?? 0 });
  }
  if (open.length > 0) throw invalid('the router’s XML ends too soon');
  return leaves;
}

function localName(name: string): string {
  return name.slice(name.lastIndexOf(':') + 1);
}

function plain(text: string): string {
  return text.replaceAll(/&(amp|lt|gt|quot|apos);/g, (_, named: string) => NAMED[named] ?? '').trim();
}

function invalid(message: string): MoatError<'ROUTER_INVALID'> {
  return new MoatError('ROUTER_INVALID', message);
}
