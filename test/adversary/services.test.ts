/**
 * The payloads that are to make two servers disagree, through a real gateway and member, in front of real services: each
 * service has seen exactly the requests that the gateway accepted, and nothing that was hidden in another.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { readCorpus, type Payload } from '../../gateway/test/request/corpus.ts';
import { readByGateway, type Message } from '../../gateway/test/request/differential/readings.ts';
import { CHUNKED } from '../../gateway/test/request/wire/chunked.ts';
import { CONNECTION, EXPECTATIONS } from '../../gateway/test/request/wire/connection.ts';
import { BOTH_LENGTHS, CONTENT_LENGTH, TRANSFER_ENCODING } from '../../gateway/test/request/wire/length.ts';
import { readAnswers } from '../../gateway/test/request/wire/read-answers.ts';
import { Machine, eventually } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import {
  programPath,
  startApache,
  startHaproxy,
  startNginx,
  startNode,
  type SeeingService,
  type StartService,
} from './services.ts';

interface Subject {
  /** Name of the deployment's service and its public name: as long as the one the payloads were written for. */
  readonly name: string;
  readonly about: string;
  readonly programs: readonly string[];
  readonly start: StartService;
}

const SUBJECTS: readonly Subject[] = [
  { name: 'ngnx', about: 'nginx', programs: ['nginx'], start: startNginx },
  { name: 'apch', about: 'Apache', programs: ['apache2'], start: startApache },
  { name: 'hapr', about: 'HAProxy before nginx', programs: ['haproxy', 'nginx'], start: startHaproxy },
  { name: 'node', about: "Node's http", programs: [], start: startNode },
];
/** The name of the tables and the corpus. */
const WRITTEN_FOR = 'shop.localhost';
const ROWS = [CONTENT_LENGTH, TRANSFER_ENCODING, BOTH_LENGTHS, CHUNKED, CONNECTION, EXPECTATIONS].flat();
const PAYLOADS: readonly Pick<Payload, 'name' | 'bytes' | 'reaches'>[] = [
  ...readCorpus(WRITTEN_FOR),
  ...ROWS.map(({ name, send: bytes, seen }) => ({ name, bytes, reaches: seen.map(lineOf) })),
];

const world = new World();
const running = new Map<string, SeeingService>();
let machine: Machine;

const missing = ({ programs }: Subject): readonly string[] =>
  programs.filter((name) => programPath(name) === undefined);
const present = SUBJECTS.filter((subject) => missing(subject).length === 0);

before(async () => {
  machine = await Machine.create('services');
  for (const { name, start } of present) running.set(name, await start(machine));
  const services = [...running].map(
    ([name, { port }], i) =>
      [name, { on: ['web-1'], port: 80 + i, target: `127.0.0.1:${port}`, protocol: 'http' }] as const,
  );
  await world.startGateway();
  await world.grow({
    name: 'shop',
    members: {
      owner: { keeper: true },
      'web-1': { expose: [...running.values()].map(({ port }) => `${port},public`) },
    },
    services: Object.fromEntries(services),
    publish: Object.fromEntries(services.map(([name]) => [name, name])),
  });
  for (const { name } of present) {
    await eventually(`${name} is public`, async () => {
      const { status } = await world.gateway.browser.fetch(`${name}.localhost`, { path: '/ready' });
      return status === 200;
    });
  }
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await machine[Symbol.asyncDispose]();
});

/** Sends the bytes, ends, and gives what came back, as latin1. */
function send(options: ConnectionOptions, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls(options);
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => (text += chunk));
    socket.once('secureConnect', () => socket.end(Buffer.from(bytes, 'latin1')));
    socket.once('close', () => resolve(text));
    socket.on('error', reject);
  });
}

/** What of the service's lines belongs to which payload. */
class Ledger {
  readonly #service: SeeingService;
  #at = 0;
  /** Requests that broke behind their head: each may show up once, now or later. */
  readonly #begun: string[] = [];

  constructor(service: SeeingService) {
    this.#service = service;
  }

  async skip(): Promise<void> {
    this.#at = (await this.#service.seen()).length;
  }

  /** Waits until the service has written down `whole`; whatever else it wrote was begun by a payload, or is a failure. */
  async expect(what: string, whole: readonly string[], begun: readonly string[]): Promise<void> {
    this.#begun.push(...begun);
    let lines: readonly string[] = [];
    const left = (): string[] => {
      const rest = [...lines];
      for (const line of whole) {
        const at = rest.indexOf(line);
        if (at === -1) return [`${line} is missing`];
        rest.splice(at, 1);
      }
      return rest;
    };
    const look = async (): Promise<boolean> => {
      lines = (await this.#service.seen()).slice(this.#at);
      return lines.length >= whole.length + 1 || left().every((line) => !line.endsWith(' is missing'));
    };
    if (!(await look())) await eventually(`${what}: ${whole.join(', ')}`, look);
    this.#at += lines.length;
    for (const line of left()) {
      const at = this.#begun.indexOf(line);
      assert.ok(
        at !== -1,
        `${what}: the service saw ${JSON.stringify(lines)} where ${JSON.stringify(whole)} was accepted`,
      );
      this.#begun.splice(at, 1);
    }
  }
}

suite('services behind a gateway see what it accepted', { concurrency: 4 }, () => {
  for (const subject of SUBJECTS) {
    const lacks = missing(subject);
    const skip = lacks.length > 0 && `${lacks.join(', ')} is not installed`;
    test(`${PAYLOADS.length} payloads before ${subject.about}`, { skip, timeout: 200_000 }, async () => {
      const host = `${subject.name}.localhost`;
      const service = running.get(subject.name);
      assert.ok(service);
      const ledger = new Ledger(service);
      await ledger.skip();
      const { browser } = world.gateway;
      for (const { name, bytes, reaches } of PAYLOADS) {
        const { messages } = readByGateway([Buffer.from(bytes, 'latin1')]);
        const begun = messages.filter(({ whole }) => !whole).map(lineOf);
        const text = await send(browser.tls(host), bytes.replaceAll(WRITTEN_FOR, host));
        const methods = reaches.map((line) => line.slice(0, line.indexOf(' ')));
        const accepted = readAnswers(text, methods).filter(({ status }) => status === 200).length;
        // A service may answer before it has the whole body.
        const right = accepted === reaches.length || (accepted === reaches.length + 1 && begun.length === 1);
        assert.ok(right, `${name}: ${accepted} instead of ${reaches.length} answered\n${text}`);
        await ledger.expect(name, reaches, begun);
      }
      await browser.fetch(host, { path: '/end' });
      await ledger.expect('the end', ['GET /end'], []);
    });
  }
});

function lineOf({ method, target }: Pick<Message, 'method' | 'target'>): string {
  return `${method} ${target}`;
}
