/** A real ACME authority on this machine: Debian's pebble, with its challtestsrv for names. */
import 'reflect-metadata';
import { spawn, type ChildProcess } from 'node:child_process';
import { webcrypto } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { freePorts } from '@moat/testkit';

const PEBBLE = '/usr/bin/pebble';
const CHALLTESTSRV = '/usr/bin/pebble-challtestsrv';

/** Why tests with a real authority cannot run here; undefined when they can. */
export const withoutPebble: string | undefined =
  existsSync(PEBBLE) && existsSync(CHALLTESTSRV) ? undefined : 'no pebble here (apt-get install pebble)';

export interface PebbleOptions {
  /** Where it looks for `http-01`. */
  readonly httpPort?: number;
  /** Where it looks for `tls-alpn-01`. */
  readonly tlsPort?: number;
  /** Where it asks for names; undefined = a challtestsrv of its own, which says 127.0.0.1 to all. */
  readonly dnsPort?: number;
  /** Keys by id; an account needs one of them. */
  readonly eab?: Readonly<Record<string, string>>;
  /** Percent of good nonces that it refuses. @defaultValue 15 */
  readonly nonceReject?: number;
  /** Life of what it issues. @defaultValue five years */
  readonly lifeSeconds?: number;
}

export interface Pebble extends AsyncDisposable {
  readonly directory: string;
  /** PEM that its https is verified by. */
  readonly trust: string;
  readonly trustFile: string;
  /** PEM of the root of what it issues. */
  root(): Promise<string>;
  /** Orders that were placed, by its log. */
  orders(): number;
  /** Certificates that were issued, by its log. */
  issued(): number;
  /** Names at its challtestsrv. */
  dns(path: 'set-txt' | 'clear-txt' | 'add-caa' | 'set-default-ipv4', body: object): Promise<void>;
  /** Ends the process, as an outage. */
  kill(): Promise<void>;
  /** Again, at the same address, knowing nothing of before. */
  restart(): Promise<void>;
}

const STARTED = /Listening on|ACME directory available/;

/** Starts an authority that knows no sleep between looks and never takes an old proof for a new one. */
export async function startPebble(options: PebbleOptions = {}): Promise<Pebble> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'moat-pebble-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const [port, management, names, nameControl] = await freePorts(4);
  const trust = await writeOwnCertificate(folder);
  const config = {
    pebble: {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: join(folder, 'cert.pem'),
      privateKey: join(folder, 'key.pem'),
      httpPort: options.httpPort ?? 1,
      tlsPort: options.tlsPort ?? 1,
      ocspResponderURL: '',
      externalAccountBindingRequired: options.eab !== undefined,
      externalAccountMACKeys: options.eab ?? {},
      ...(options.lifeSeconds !== undefined && { certificateValidityPeriod: options.lifeSeconds }),
    },
  };
  await writeFile(join(folder, 'pebble.json'), JSON.stringify(config));
  if (options.dnsPort === undefined) {
    const flags = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-defaultIPv6', '', '-defaultIPv4', '127.0.0.1'];
    const served = spawn(
      CHALLTESTSRV,
      [...flags, '-dns01', `127.0.0.1:${names}`, '-management', `127.0.0.1:${nameControl}`],
      { stdio: 'ignore' },
    );
    stack.defer(() => end(served));
    await reachable(nameControl);
  }
  let log = '';
  let process_: ChildProcess | undefined;
  const run = async (): Promise<void> => {
    const started = spawn(
      PEBBLE,
      ['-strict', '-config', join(folder, 'pebble.json'), '-dnsserver', `127.0.0.1:${options.dnsPort ?? names}`],
      {
        env: {
          PEBBLE_VA_NOSLEEP: '1',
          PEBBLE_AUTHZREUSE: '0',
          PEBBLE_WFE_NONCEREJECT: String(options.nonceReject ?? 15),
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    process_ = started;
    await new Promise<void>((resolve, reject) => {
      const read = (chunk: Buffer): void => {
        log += chunk.toString();
        if (STARTED.test(log)) resolve();
      };
      started.stdout.on('data', read);
      started.stderr.on('data', read);
      started.once('exit', () => reject(new Error(`pebble ended: ${log}`)));
    });
    await reachable(port);
  };
  await run();
  stack.defer(() => end(process_));
  const owned = stack.move();
  return {
    directory: `https://127.0.0.1:${port}/dir`,
    trust,
    trustFile: join(folder, 'cert.pem'),
    root: () => get(`https://127.0.0.1:${management}/roots/0`, trust),
    orders: () => log.match(/Added order "/g)?.length ?? 0,
    issued: () => log.match(/Issued certificate serial/g)?.length ?? 0,
    dns: async (path, body) => {
      const answer = await fetch(`http://127.0.0.1:${nameControl}/${path}`, {
        method: 'POST',
        body: JSON.stringify(body),
      });
      if (!answer.ok) throw new Error(`challtestsrv: ${answer.status}`);
    },
    kill: () => end(process_),
    restart: run,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function reachable(port: number | undefined): Promise<void> {
  const { connect } = await import('node:net');
  const until = Date.now() + 10_000;
  for (;;) {
    const isThere = await new Promise<boolean>((resolve) => {
      const socket = connect(port ?? 0, '127.0.0.1');
      socket.once('connect', () => resolve(socket.destroy() !== undefined));
      socket.once('error', () => resolve(false));
    });
    if (isThere) return;
    if (Date.now() > until) throw new Error(`nothing listens on ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

async function writeOwnCertificate(folder: string): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=pebble under test',
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 24 * 3_600_000),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]),
    ],
  });
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  await writeFile(join(folder, 'key.pem'), PemConverter.encode(pkcs8, 'PRIVATE KEY'));
  await writeFile(join(folder, 'cert.pem'), certificate.toString('pem'));
  return certificate.toString('pem');
}

function get(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request(url, { ca }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => (text += part));
      response.on('end', () => resolve(text));
    })
      .on('error', reject)
      .end();
  });
}
