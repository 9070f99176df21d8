/** `moat gateway suspend`: what does harm is off the air at once, and stays where it is. */
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { addVerb, type VerbRunner } from '../verb.ts';

interface SuspendOptions {
  readonly gone?: boolean;
  readonly note?: string;
}

/** What of a note goes into an answer to the publisher. */
const MAX_NOTE_LENGTH = 200;

export function addSuspend(gateway: Command, runner: VerbRunner): void {
  addVerb<SuspendOptions>(
    gateway,
    runner,
    {
      usage: 'suspend <name>',
      summary: 'takes a name, or all names of a deployment, off the air at once',
      examples: [
        ['moat gateway suspend shop --note "reported as phishing, 2026-11-20"', 'clients get 451'],
        ['moat gateway suspend q7f3… --gone', 'everything of a deployment; clients get 410'],
        ['moat gateway allow shop', 'on the air again'],
      ],
      options: [
        { flags: '--gone', text: 'clients get 410 Gone; by default 451 Unavailable For Legal Reasons' },
        { flags: '--note <text>', text: 'for the publisher, who sees it in moat names; clients do not' },
      ],
    },
    async ({ gateway: client, style }, [name = ''], { gone = false, note }) => {
      if (note !== undefined && (note === '' || note.length > MAX_NOTE_LENGTH)) {
        throw new MoatError('USAGE', `--note takes 1 to ${MAX_NOTE_LENGTH} characters`);
      }
      const suspended = await client.suspend({
        subject: name,
        status: gone ? 410 : 451,
        ...(note === undefined ? {} : { note }),
      });
      const { subject, status } = suspended;
      const text = `${style.ok} ${subject} is off the air: clients get ${status}. Again: moat gateway allow ${name}`;
      return { kind: 'gateway-suspend', data: suspended, text };
    },
  );
}
