/**
 * Run in a namespace of its own: a member that has no grant and asks for the service all the time, and guests that
 * take places by the tokens that appear in a folder. It writes every answer to mallory.log there, one a line.
 *   node chaos-mallory.ts <folder with mallory.json, later tokens>
 */
import { appendFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCode } from '@moat/core';
import { parseNodeKey } from '@moat/identity';
import type { Version } from '../adversary/pen.ts';
import { Twin } from '../adversary/twins/twin.ts';

interface Orders {
  readonly key: string;
  readonly version: Version;
  readonly keepers: readonly string[];
  readonly target: string;
}

const [folder = ''] = process.argv.slice(2);
const orders = JSON.parse(await readFile(join(folder, 'mallory.json'), 'utf8')) as Orders;
const { deployment } = orders.version.contract;

function say(line: string): void {
  appendFileSync(join(folder, 'mallory.log'), `${line}\n`);
}

async function attack(): Promise<never> {
  const mallory = await Twin.start({ key: parseNodeKey(orders.key) });
  mallory.view.holdVersion(orders.version);
  for (;;) {
    let outcome: string;
    try {
      const link = await mallory.links.connect(orders.target, AbortSignal.timeout(5000));
      outcome = await mallory.ask(link, { deployment, service: 'db', kind: 'tcp' });
    } catch (error) {
      outcome = errorCode(error);
    }
    say(`asked ${outcome}`);
    await delay(100);
  }
}

async function guests(): Promise<never> {
  const done = new Set<string>();
  for (;;) {
    const files = (await readdir(folder)).filter((file) => file.endsWith('.token') && !done.has(file));
    for (const file of files) {
      await using guest = await Twin.start();
      try {
        const answer = await guest.join(await readFile(join(folder, file), 'utf8'), orders.keepers);
        if (!answer.ok) say(`refused ${file} ${answer.code}`);
        else say(`joined ${answer.claim.details.member} ${guest.peer}`);
        done.add(file);
      } catch (error) {
        // no keeper in reach: the outcome is unknown, and the next guest would be another machine
        say(`lost ${file} ${errorCode(error)}`);
        done.add(file);
      }
    }
    await delay(200);
  }
}

await Promise.all([attack(), guests()]);
