import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { Terminal } from './support/terminal.ts';

const PASSWORD = 'correct hörse';
const DAY_MS = 24 * 3_600_000;
const run = promisify(execFile);

const issue = (terminal: Terminal, ...args: string[]): ReturnType<Terminal['json']> =>
  terminal.json(['certs', 'client', ...args, '--password-file', '-'], { stdin: `${PASSWORD}\n` });

/** What openssl says on both streams, or undefined where there is no openssl. */
async function openssl(t: TestContext, args: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await run('openssl', args);
    return stdout + stderr;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    t.skip('openssl is not installed');
    return undefined;
  }
}

test('the first certificate makes an authority; all files are private, and nothing tells the password or a key', async () => {
  using terminal = new Terminal();
  const made = await terminal.run(['certs', 'client', 'ana', '--password-file', '-'], { stdin: `${PASSWORD}\n` });
  assert.equal(made.exitCode, 0, made.stderr);
  const ca = terminal.path('home', 'client-ca.pem');
  assert.match(made.stderr, /! made an authority for client certificates/);
  assert.ok(made.stdout.includes(`auth: { mtls: { ca: "${ca}" } }`), made.stdout);
  for (const file of [terminal.path('home', 'client-ca.key'), terminal.path('ana.p12')]) {
    assert.equal(statSync(file).mode & 0o777, 0o600, file);
  }
  assert.doesNotMatch(made.stdout + made.stderr, /PRIVATE KEY|correct/);
  const again = await issue(terminal, 'ben', '--days', '30');
  assert.equal(again.exitCode, 0, again.stderr);
  assert.deepEqual(again.data['authority'], { file: ca, keyFile: terminal.path('home', 'client-ca.key'), made: false });
  assert.doesNotMatch(again.stderr, /made an authority/);
  const days = (Date.parse(String(again.data['until'])) - Date.now()) / DAY_MS;
  assert.ok(days > 29.9 && days <= 30, String(days));
  // What moat.yaml may hold: certificates and nothing beside them.
  assert.match(
    readFileSync(ca, 'utf8'),
    /^-----BEGIN CERTIFICATE-----\n(?:[\w+/=]{1,76}\n)+-----END CERTIFICATE-----\n$/,
  );
});

test('openssl reads the file with its password alone, finds modern ciphers and a client of that authority', async (t) => {
  using terminal = new Terminal();
  const made = await issue(terminal, 'Ana, O=Evil', '--out', 'ana.p12');
  assert.equal(made.exitCode, 0, made.stderr);
  writeFileSync(terminal.path('right'), PASSWORD);
  writeFileSync(terminal.path('wrong'), `${PASSWORD}!`);
  const read = (password: string, ...flags: string[]): string[] => {
    const from = ['-in', terminal.path('ana.p12'), '-passin', `file:${terminal.path(password)}`];
    return ['pkcs12', ...from, ...flags];
  };
  const said = await openssl(t, read('right', '-info', '-nodes', '-out', terminal.path('ana.pem')));
  if (said === undefined) return;
  assert.match(said, /MAC: sha256, Iteration 100000\nMAC length: 32, salt length: 8/);
  assert.equal(said.match(/PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256/g)?.length, 2);
  await assert.rejects(run('openssl', read('wrong', '-nodes')), /invalid password/);
  const pem = readFileSync(terminal.path('ana.pem'), 'utf8');
  assert.match(pem, /friendlyName: Ana, O=Evil\n/);
  const certificate = new X509Certificate(pem);
  assert.equal(certificate.subject, 'CN=Ana\\, O=Evil');
  assert.ok(certificate.checkPrivateKey(createPrivateKey(pem)));
  assert.equal(certificate.fingerprint256.replaceAll(':', '').toLowerCase(), made.data['fingerprint']);
  const ca = terminal.path('home', 'client-ca.pem');
  await run('openssl', ['verify', '-purpose', 'sslclient', '-CAfile', ca, terminal.path('ana.pem')]);
  const asServer = run('openssl', ['verify', '-purpose', 'sslserver', '-CAfile', ca, terminal.path('ana.pem')]);
  await assert.rejects(asServer, /unsuitable certificate purpose|unsupported certificate purpose/);
});

test('Node reads the file with its password alone', async () => {
  using terminal = new Terminal();
  await issue(terminal, 'ana');
  const pfx = readFileSync(terminal.path('ana.p12'));
  createSecureContext({ pfx, passphrase: PASSWORD });
  assert.throws(() => createSecureContext({ pfx, passphrase: 'correct horse' }), /mac verify failure/);
});

test('an authority of openssl issues too; a certificate that is gone is made anew for the same key', async (t) => {
  using terminal = new Terminal();
  const [ca, key] = [terminal.path('staff.pem'), terminal.path('staff.key')];
  const own = ['-keyout', key, '-out', ca, '-subj', '/CN=staff', '-days', '2'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  if ((await openssl(t, ['req', '-x509', ...curve, ...own])) === undefined) return;
  chmodSync(key, 0o600);
  const issued = await issue(terminal, 'ana', '--ca', 'staff.pem');
  assert.equal(issued.exitCode, 0, issued.stderr);
  const end = Date.parse(new X509Certificate(readFileSync(ca)).validTo);
  assert.equal(Date.parse(String(issued.data['until'])), end, 'never longer than the authority');
  const before = new X509Certificate(readFileSync(ca)).publicKey.export({ format: 'jwk' });
  rmSync(ca);
  const again = await issue(terminal, 'ben', '--ca', 'staff.pem');
  assert.deepEqual([again.exitCode, (again.data['authority'] as { made: boolean }).made], [0, false]);
  assert.deepEqual(new X509Certificate(readFileSync(ca)).publicKey.export({ format: 'jwk' }), before);
});

test('what cannot be issued is refused, and no file is replaced', async () => {
  using terminal = new Terminal();
  await issue(terminal, 'ana');
  const [ca, key] = [terminal.path('home', 'client-ca.pem'), terminal.path('home', 'client-ca.key')];
  const before = readFileSync(terminal.path('ana.p12'));
  const refusal = async (...args: string[]): Promise<readonly [string, number]> => {
    const { error, exitCode } = await issue(terminal, ...args);
    return [error.code, exitCode];
  };
  assert.deepEqual(await refusal('ana'), ['FILE_EXISTS', 6]);
  assert.deepEqual(readFileSync(terminal.path('ana.p12')), before);
  for (const name of ['', ' ana', 'a\nb', 'x'.repeat(65)]) assert.deepEqual(await refusal(name), ['USAGE', 2], name);
  for (const days of ['0', '-1', '3651', '1e3', 'x']) {
    assert.deepEqual(await refusal('ben', `--days=${days}`), ['USAGE', 2], days);
  }
  const silent = await terminal.json(['certs', 'client', 'ben']);
  assert.deepEqual([silent.error.code, silent.error.next], ['CONFIRMATION_NEEDED', ['add --password-file FILE']]);
  const empty = await terminal.json(['certs', 'client', 'ben', '--password-file', '-'], { stdin: '\n' });
  assert.equal(empty.error.code, 'PASSPHRASE_EMPTY');
  const over = { stdin: 'x\n', now: Date.now() + 3_651 * DAY_MS };
  const late = await terminal.json(['certs', 'client', 'ben', '--password-file', '-'], over);
  assert.deepEqual([late.error.code, late.exitCode], ['CLIENT_CA_INVALID', 3]);
  chmodSync(key, 0o644);
  assert.deepEqual(await refusal('ben'), ['KEY_FILE_EXPOSED', 3]);
  rmSync(key);
  assert.deepEqual(await refusal('ben'), ['KEY_FILE_MISSING', 5]);
  await issue(terminal, 'eve', '--ca', 'other.pem');
  writeFileSync(key, readFileSync(terminal.path('other.key')), { mode: 0o600 });
  assert.deepEqual(await refusal('ben'), ['CLIENT_CA_INVALID', 3], "another's key");
  for (const text of ['garbage', readFileSync(terminal.path('other.key'), 'utf8')]) {
    writeFileSync(ca, text);
    assert.deepEqual(await refusal('ben'), ['CLIENT_CA_INVALID', 3]);
  }
});
