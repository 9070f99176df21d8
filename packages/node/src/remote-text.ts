/** Text that another machine wrote, on its way to people: a terminal obeys what it should only show. */
import type { PublishAnswer } from '@moat/overlay';

/** Without control, format and line characters, which move a cursor, hide text or turn it around. */
export function plainText(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{fffd}');
}

/** A gateway's answer; `PUBLISH_FAILED` for a code that is none. */
export function plainAnswer(answer: PublishAnswer): PublishAnswer {
  if (!answer.ok) return { ok: false, ...plainReason(answer) };
  return {
    ok: true,
    names: answer.names.map(({ name, host, url }) => ({
      name: plainText(name),
      host: plainText(host),
      url: plainText(url),
    })),
    refused: answer.refused.map((refusal) => ({ name: plainText(refusal.name), ...plainReason(refusal) })),
  };
}

/** A code and a sentence; `PUBLISH_FAILED` for a code that is none. */
export function plainReason(reason: { readonly code: string; readonly message: string }): {
  code: string;
  message: string;
} {
  const code = /^[A-Z][A-Z0-9_]{1,63}$/.test(reason.code) ? reason.code : 'PUBLISH_FAILED';
  return { code, message: plainText(reason.message) };
}
