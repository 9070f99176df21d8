/**
 * Names that people take for one another. Two labels with the same skeleton look alike (UTS #39 §4, of its tables what a
 * label of a host can hold and a browser shows). Pure.
 */
import { domainToASCII, domainToUnicode } from 'node:url';

/** Letters of other scripts that look like Latin ones in common fonts: Cyrillic, Greek, Armenian, Latin beside a-z. */
const FOREIGN: Readonly<Record<string, string>> = Object.fromEntries(
  [
    ['аɑα', 'a'],
    ['ьЬ', 'b'],
    ['сϲᴄ', 'c'],
    ['ԁɗ', 'd'],
    ['еҽ', 'e'],
    ['ɡց', 'g'],
    ['һհ', 'h'],
    ['іıɩιΙ', 'l'],
    ['јϳ', 'j'],
    ['кκ', 'k'],
    ['ӏƖ', 'l'],
    ['м', 'm'],
    ['пոռ', 'n'],
    ['оοօσ', 'o'],
    ['рρ', 'p'],
    ['ԛգ', 'q'],
    ['гɼ', 'r'],
    ['ѕꜱ', 's'],
    ['тτ', 't'],
    ['υսʋ', 'u'],
    ['ѵν', 'v'],
    ['ԝѡω', 'w'],
    ['хχ', 'x'],
    ['уγүყ', 'y'],
    ['ᴢ', 'z'],
  ].flatMap(([letters = '', latin = '']) => Array.from(letters, (letter) => [letter, latin])),
);

/** What two labels that look alike have in common. `label` is an A-label or ASCII, lower case. */
export function skeletonOf(label: string): string {
  const shown = label.startsWith('xn--') ? domainToUnicode(label) : label;
  const latin = shown
    .normalize('NFD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/\P{ASCII}/gu, (letter) => FOREIGN[letter] ?? letter);
  return latin.replaceAll('rn', 'm').replaceAll('vv', 'w').replaceAll('0', 'o').replaceAll(/[1i]/g, 'l');
}

/** Scripts whose letters stand beside others' in ordinary words: what UTS #39 §5.1 calls highly restrictive. */
const SCRIPTS = [
  /^[\p{sc=Latin}\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]*$/u,
  /^[\p{sc=Latin}\p{sc=Han}\p{sc=Bopomofo}]*$/u,
  /^[\p{sc=Latin}\p{sc=Han}\p{sc=Hangul}]*$/u,
  /^\p{sc=Cyrillic}*$/u,
  /^\p{sc=Greek}*$/u,
  ...['Armenian', 'Hebrew', 'Arabic', 'Devanagari', 'Bengali', 'Tamil', 'Thai', 'Georgian', 'Ethiopic'].map(
    (script) => new RegExp(`^\\p{sc=${script}}*$`, 'u'),
  ),
];

/**
 * What is wrong with a label as letters: `malformed` where it is no A-label though it says so, `mixed` where letters of
 * scripts stand together that no word has together. `label` is lower case.
 */
export function spellingProblem(label: string): 'malformed' | 'mixed' | undefined {
  // RFC 5891 §4.2.3.1: two hyphens there are for A-labels.
  if (label.slice(2, 4) !== '--') return undefined;
  const shown = label.startsWith('xn--') ? domainToUnicode(label) : '';
  if (shown === '' || shown === label || domainToASCII(shown) !== label) return 'malformed';
  const letters = shown.replaceAll(/[\p{sc=Common}\p{sc=Inherited}]/gu, '');
  return SCRIPTS.some((script) => script.test(letters)) ? undefined : 'mixed';
}
