/** An OpenID provider as people have one, in the test process: it asks for a name, then for consent, and knows everybody. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider } from 'oidc-provider';

export interface TestProvider extends AsyncDisposable {
  readonly issuer: string;
  /** The address to which whoever signs in as `login` is sent from `url`. */
  signIn(url: string, login: string): Promise<URL>;
}

export const CLIENT = { id: 'shop', secret: 'a secret of the client with % and +' } as const;

const MAX_STEPS = 12;

/** @param redirectUri where it sends people back to; no other */
export async function startProvider(redirectUri: string): Promise<TestProvider> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: CLIENT.id, client_secret: CLIENT.secret, redirect_uris: [redirectUri] }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    cookies: { keys: ['of this test'] },
    // Who is called `unverified@…` never showed that the mailbox is theirs.
    findAccount: (_context, id) => ({
      accountId: id,
      claims: () => ({ sub: `id of ${id}`, email: id, email_verified: !id.startsWith('unverified') }),
    }),
  });
  const handle = provider.callback();
  server.on('request', (request, response) => void handle(request, response));
  return {
    issuer,
    signIn: (url, login) => walk(url, login, redirectUri),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** What a browser and its user do. */
async function walk(from: string, login: string, until: string): Promise<URL> {
  const cookies = new Map<string, string>();
  let url = from;
  let form: string | undefined;
  for (let step = 0; step < MAX_STEPS; step += 1) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, {
      redirect: 'manual',
      method: form === undefined ? 'GET' : 'POST',
      headers: { cookie, ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }) },
      ...(form === undefined ? {} : { body: form }),
    });
    for (const set of answer.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? [];
      cookies.set(name, value);
    }
    const text = await answer.text();
    const location = answer.headers.get('location');
    if (location?.startsWith(until) === true) return new URL(location);
    if (location === null) {
      const action = /<form[^>]* action="([^"]+)"/.exec(text)?.[1];
      if (action === undefined) throw new Error(`the provider asks nothing: ${answer.status} ${text.slice(0, 300)}`);
      const prompt = /name="prompt" value="(\w+)"/.exec(text)?.[1] ?? '';
      url = new URL(action, url).href;
      form = new URLSearchParams({ prompt, ...(prompt === 'login' ? { login, password: 'any' } : {}) }).toString();
    } else {
      url = new URL(location, url).href;
      form = undefined;
    }
  }
  throw new Error('the provider sends its user in circles');
}
