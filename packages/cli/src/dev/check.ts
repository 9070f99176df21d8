/** `moat dev --check`: one https request through the whole path, and what each hop of it proves. */
import { readFileSync } from 'node:fs';
import type { Context } from '../context.ts';
import { formatDuration } from '../output/units.ts';
import { httpsGet } from '../process/https.ts';
import { DB_MEMBER, WEB_MEMBER } from './guestbook.ts';
import type { RunningGuestbook } from './start.ts';

const TIMEOUT_MS = 15_000;

export interface Hop {
  readonly name: 'join' | 'grant' | 'private service' | 'publication' | 'https';
  readonly ok: boolean;
  readonly proof: string;
}

/** Never throws: a hop that fails says why. */
export async function checkHops(context: Context, running: RunningGuestbook, journal: string): Promise<readonly Hop[]> {
  const text = `checked by ${process.pid} at ${new Date(context.io.now()).toISOString()}`;
  // The request comes first: what the other hops show is then the state it ran in.
  const https = await hop('https', () => sign(context, running, text));
  return [
    await hop('join', () => joined(running)),
    await hop('grant', () => granted(running)),
    await hop('private service', () => stored(running, journal, text)),
    await hop('publication', () => published(running)),
    https,
  ];
}

async function hop(name: Hop['name'], prove: () => Promise<string>): Promise<Hop> {
  try {
    return { name, ok: true, proof: await prove() };
  } catch (error) {
    return { name, ok: false, proof: error instanceof Error ? error.message : String(error) };
  }
}

async function joined({ db, web, deployment, joinedInMs }: RunningGuestbook): Promise<string> {
  const [here, there] = await Promise.all([db.deployment(deployment), web.deployment(deployment)]);
  const place = there.places.find(({ name }) => name === DB_MEMBER);
  const { peerId } = await db.status();
  require(here.member === DB_MEMBER && place?.peer === peerId, `${DB_MEMBER} has not taken its place`);
  const took = joinedInMs === null ? '' : ` in ${formatDuration(joinedInMs)}`;
  return `${DB_MEMBER} took its place by an invite${took}; ${WEB_MEMBER} witnessed it`;
}

async function granted({ web, deployment }: RunningGuestbook): Promise<string> {
  const forth = await web.explain(deployment, WEB_MEMBER, 'db');
  const back = await web.explain(deployment, DB_MEMBER, 'web');
  require(forth.allowed, `${WEB_MEMBER} may not reach db: ${forth.reason}`);
  require(!back.allowed, `${DB_MEMBER} may reach web, which no line allows`);
  return `${WEB_MEMBER} may reach db by access line ${(forth.grant ?? 0) + 1} of version ${forth.version}; ${DB_MEMBER} may not reach web (${back.code})`;
}

/** The entry is in the file of the database, which nothing but the private network leads to. */
async function stored({ web, deployment, network }: RunningGuestbook, journal: string, text: string): Promise<string> {
  require(readFileSync(journal, 'utf8').includes(text), 'the entry did not reach the database');
  const ping = await web.ping(deployment, { target: 'db' });
  return `the entry is in the database: ${WEB_MEMBER} → db.${network}.internal → ${ping.member}, ${ping.path}, ${formatDuration(ping.rttMs)}`;
}

async function published({ web, deployment }: RunningGuestbook): Promise<string> {
  const publication = (await web.publications()).find((one) => one.deployment === deployment);
  require(publication?.state === 'live', `the name is ${publication?.state ?? 'not published'}`);
  return `the gateway took ${publication?.name ?? ''} of version ${publication?.version ?? '?'} and leads it to ${publication?.service ?? ''}`;
}

async function sign({ io }: Context, { url, caFile }: RunningGuestbook, text: string): Promise<string> {
  const began = performance.now();
  const answer = await httpsGet(`${url}/entries`, {
    caFile,
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ name: 'moat dev --check', text }),
    signal: AbortSignal.any([io.signal, AbortSignal.timeout(TIMEOUT_MS)]),
  });
  const took = formatDuration(performance.now() - began);
  require(answer.status === 201, `POST ${url}/entries answered ${answer.status}: ${answer.body.slice(0, 200)}`);
  const { entry } = JSON.parse(answer.body) as { readonly entry: { readonly number: number; readonly text: string } };
  require(entry.text === text, 'another entry came back');
  return `POST ${url}/entries → ${answer.status}, entry ${entry.number}, ${took}`;
}

/** Becomes the hop's explanation. */
function require(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}
