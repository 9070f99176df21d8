/** A router on loopback that says what a test wants it to: NAT-PMP, the search of UPnP, a description, and its services. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { silentLogger } from '@moat/core';
import { createManualClock, type ManualClock } from '@moat/testkit';
import type { Router } from '../../../src/plane/port-mapping/port-giver.ts';
import { RouterPortMapper } from '../../../src/plane/port-mapping/port-mapper.ts';

/** What somebody was asked for by NAT-PMP. */
export interface NatPmpAsk {
  readonly port: number;
  readonly seconds: number;
}

/** A call of UPnP: the action, and its values by name. */
export interface UpnpCall {
  readonly action: string;
  readonly type: string;
  readonly values: Readonly<Record<string, string>>;
}

export class FakeRouter implements AsyncDisposable {
  readonly clock: ManualClock = createManualClock();
  readonly #sockets: Socket[] = [];
  readonly #server = createServer({ keepAlive: false }, (request, response) => void this.#serve(request, response));
  readonly mapper: RouterPortMapper;
  /** Null: this machine has no router. */
  router: Router | null = null;

  /** NAT-PMP: what it was asked, what it says, and requests that get lost. */
  readonly asked: NatPmpAsk[] = [];
  packets = 0;
  outside: readonly number[] = [203, 0, 113, 9];
  result = 0;
  deaf = 0;

  /** UPnP: calls so far, and pages that were fetched. */
  readonly calls: UpnpCall[] = [];
  readonly fetched: string[] = [];
  /** Connections that are open: without one, whoever asked has read the answer. */
  connections = 0;
  searches = 0;
  /** Packets that answer one search; from the router's own address. */
  answers: () => readonly string[] = () => [this.answer(`${this.origin}/root.xml`)];
  page: (response: ServerResponse, path: string) => void = (response) => void response.end(this.description());
  externalAddress = '203.0.113.9';
  /** UPnP's number for what an action is refused with. */
  refuse: (call: UpnpCall) => number | undefined = () => undefined;
  reply: ((response: ServerResponse, call: UpnpCall) => void) | undefined;

  constructor() {
    const router = (): Promise<Router | null> => Promise.resolve(this.router);
    this.mapper = new RouterPortMapper({ clock: this.clock, logger: silentLogger, router });
  }

  static async start(speaks: { readonly natPmp?: boolean; readonly upnp?: boolean }): Promise<FakeRouter> {
    const fake = new FakeRouter();
    const host = '127.0.0.1';
    const natPmp = speaks.natPmp === true ? await fake.#udp((...heard) => fake.#natPmp(...heard)) : undefined;
    const ssdp = speaks.upnp === true ? await fake.#udp((...heard) => fake.#search(...heard)) : undefined;
    fake.#server.on('connection', (socket) => {
      fake.connections += 1;
      socket.on('close', () => (fake.connections -= 1));
    });
    fake.#server.listen(0, host);
    await once(fake.#server, 'listening');
    // Nobody listens at port 9.
    fake.router = {
      host,
      own: host,
      natPmpPort: natPmp ?? 9,
      searchAt: ssdp === undefined ? [] : [{ host, port: ssdp }],
    };
    return fake;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  answer(location: string): string {
    return `HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nEXT:\r\nLOCATION: ${location}\r\nST: x\r\n\r\n`;
  }

  description(
    services: readonly (readonly [type: string, control: string])[] = [['WANIPConnection:1', '/ip']],
  ): string {
    const all = services.map(
      ([type, control]) =>
        `<service><serviceType>urn:schemas-upnp-org:service:${type}</serviceType><controlURL>${control}</controlURL></service>`,
    );
    return `<?xml version="1.0"?>\r\n<root xmlns="urn:schemas-upnp-org:device-1-0"><device><friendlyName>A &amp; B</friendlyName><serviceList>${all.join('')}</serviceList></device></root>`;
  }

  callsOf(action: string): readonly UpnpCall[] {
    return this.calls.filter((call) => call.action === action);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mapper.stop();
    this.#server.closeAllConnections();
    this.#server.close();
    for (const socket of this.#sockets) socket.close();
  }

  async #udp(onPacket: (packet: Buffer, socket: Socket, port: number) => void): Promise<number> {
    const socket = createSocket('udp4');
    this.#sockets.push(socket);
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    socket.on('message', (packet, { port }) => onPacket(packet, socket, port));
    return socket.address().port;
  }

  #natPmp(request: Buffer, socket: Socket, to: number): void {
    this.packets += 1;
    if (this.packets <= this.deaf) return;
    const head = Buffer.from([0, 0x80 | (request[1] ?? 0), this.result >> 8, this.result & 0xff, 0, 0, 0, 1]);
    if (request[1] === 0) return socket.send(Buffer.concat([head, Buffer.from(this.outside)]), to);
    const port = request.readUInt16BE(4);
    const seconds = request.readUInt32BE(8);
    this.asked.push({ port, seconds });
    const rest = Buffer.alloc(8);
    rest.writeUInt16BE(port, 0);
    rest.writeUInt16BE(seconds === 0 ? 0 : 40_000, 2);
    rest.writeUInt32BE(seconds, 4);
    socket.send(Buffer.concat([head, rest]), to);
  }

  #search(_: Buffer, socket: Socket, to: number): void {
    this.searches += 1;
    for (const answer of this.answers()) socket.send(Buffer.from(answer, 'latin1'), to);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    if (request.method === 'GET') {
      this.fetched.push(path);
      return this.page(response, path);
    }
    const call = callOf(request, Buffer.concat(await request.toArray()).toString());
    this.calls.push(call);
    if (this.reply !== undefined) return this.reply(response, call);
    const code = this.refuse(call);
    if (code === undefined) return void response.end(this.#done(call));
    response.statusCode = 500;
    response.end(
      envelope(
        `<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError><errorCode>${code}</errorCode></UPnPError></detail></s:Fault>`,
      ),
    );
  }

  #done({ action, type }: UpnpCall): string {
    const inner =
      action === 'GetExternalIPAddress' ? `<NewExternalIPAddress>${this.externalAddress}</NewExternalIPAddress>` : '';
    return envelope(`<u:${action}Response xmlns:u="${type}">${inner}</u:${action}Response>`);
  }
}

export function envelope(body: string): string {
  return `<?xml version="1.0"?>\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>${body}</s:Body></s:Envelope>`;
}

/** Resolves in the turn in which it is so; the test's own limit ends it. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

function callOf({ headers }: IncomingMessage, body: string): UpnpCall {
  const [type = '', action = ''] = String(headers['soapaction']).replaceAll('"', '').split('#');
  const values = [...body.matchAll(/<(New\w+)>([^<]*)<\/\1>/g)].map(
    ([, name = '', value = '']) => [name, value] as const,
  );
  return { action, type: type.split(':').slice(-2).join(':'), values: Object.fromEntries(values) };
}
