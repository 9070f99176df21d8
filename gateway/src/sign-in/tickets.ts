/**
 * An address that signs one browser in: what its session is made of, sealed so that the address itself is worth nothing to
 * whoever finds it afterwards, in a history or a log. That it is good once, and how long, is a question's (`questions`).
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { refusal } from '../errors.ts';
import type { Questions } from './questions.ts';
import type { SessionScope } from './sessions.ts';

export const TICKET_MS = 60_000;

const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;
const MAX_TICKET_CHARS = 1_024;

/** Who is signed in. */
export interface Ticket {
  readonly user: string;
  /** Where members ask too. */
  readonly proof?: string;
}

export interface TicketsDeps {
  readonly questions: Questions;
}

export class Tickets {
  readonly #deps: TicketsDeps;
  readonly #key: Buffer;

  /** @param secret the gateway's own, the same in each of its processes. */
  constructor(deps: TicketsDeps, secret: Uint8Array) {
    this.#deps = deps;
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', 'moat/ticket/1', 32));
  }

  issue(ticket: Ticket, scope: SessionScope): string {
    const nonce = this.#deps.questions.ask(ticketScope(scope), TICKET_MS);
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv(CIPHER, this.#key, iv).setAAD(Buffer.from(nonce));
    const sealed = [iv, cipher.update(JSON.stringify(ticket), 'utf8'), cipher.final()];
    return `${Buffer.concat([...sealed, cipher.getAuthTag()]).toString('base64url')}.${nonce}`;
  }

  /** What was issued here; looking at it uses nothing up. @throws `SIGN_IN_EXPIRED` */
  read(text: string): Ticket {
    const [sealed = '', nonce = ''] = text.length > MAX_TICKET_CHARS ? [] : text.split('.', 2);
    try {
      // Nobody else can have written it.
      return JSON.parse(this.#open(Buffer.from(sealed, 'base64url'), nonce)) as Ticket;
    } catch (cause) {
      throw refusal('SIGN_IN_EXPIRED', 'this was not issued here, is over or was used before', { cause });
    }
  }

  /** The same, once. Rejects with `SIGN_IN_EXPIRED`, `GATEWAY_BUSY` */
  async redeem(text: string, scope: SessionScope): Promise<Ticket> {
    const ticket = this.read(text);
    await this.#deps.questions.answer(text.split('.', 2)[1] ?? '', ticketScope(scope));
    return ticket;
  }

  #open(bytes: Buffer, nonce: string): string {
    const decipher = createDecipheriv(CIPHER, this.#key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(nonce)).setAuthTag(bytes.subarray(-TAG_BYTES));
    const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]);
    return text.toString('utf8');
  }
}

/** No host has a blank in it: a ticket is no question, and no question a ticket. */
function ticketScope({ host, ways }: SessionScope): string {
  return `ticket ${host} ${ways}`;
}
