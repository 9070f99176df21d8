/** Texts at a name, asked of the resolvers the operator chose. */
import { Resolver } from 'node:dns/promises';
import { errorCode } from '@moat/core';

/** Empty where there are none. Rejects where no resolver knows. */
export type TextLookup = (name: string, signal: AbortSignal) => Promise<readonly string[]>;

const TRY_MS = 1_000;
const TRIES = 2;
/** A name with more is taken for one with these. */
const MAX_TEXTS = 64;
const MAX_TEXT = 512;

/** @param chosen `ADDRESS` or `ADDRESS:PORT`, asked for each question; empty = those of the system */
export function createTextLookup(chosen: () => readonly string[]): TextLookup {
  return async (name, signal) => {
    signal.throwIfAborted();
    // One for each question: what is cancelled is all that a resolver was asked.
    const resolver = new Resolver({ timeout: TRY_MS, tries: TRIES });
    const resolvers = chosen();
    if (resolvers.length > 0) resolver.setServers(resolvers);
    const cancel = (): void => resolver.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const texts = await resolver.resolveTxt(name);
      return texts.slice(0, MAX_TEXTS).map((pieces) => pieces.join('').slice(0, MAX_TEXT));
    } catch (error) {
      if (['ENOTFOUND', 'ENODATA'].includes(errorCode(error))) return [];
      throw error;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  };
}
