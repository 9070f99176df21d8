/** The cookie that a session is, whatever stands in it. `__Host-` keeps it from every other name, siblings included. */

const NAME = '__Host-moat-session';
const ATTRIBUTES = 'Path=/; Secure; HttpOnly; SameSite=Lax';
const MAX_COOKIE_CHARS = 4_096;
/** A signature is checked for each: more than one browser has is somebody's mischief. */
const MAX_VALUES = 4;

/** The field value that sets it. */
export function sessionCookie(value: string, lastsMs: number): string {
  return `${NAME}=${value}; ${ATTRIBUTES}; Max-Age=${Math.floor(lastsMs / 1_000)}`;
}

/** The field value that ends it. */
export function endSessionCookie(): string {
  return `${NAME}=; ${ATTRIBUTES}; Max-Age=0`;
}

/** What a browser brings of it. */
export function sessionValues(cookie: string | undefined): readonly string[] {
  if (cookie === undefined || cookie.length > MAX_COOKIE_CHARS || !cookie.includes(NAME)) return [];
  const values: string[] = [];
  for (const pair of cookie.split(';')) {
    const trimmed = pair.trim();
    if (trimmed.startsWith(`${NAME}=`) && values.length < MAX_VALUES) values.push(trimmed.slice(NAME.length + 1));
  }
  return values;
}
