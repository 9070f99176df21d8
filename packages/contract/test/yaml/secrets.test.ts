/** Users of a published name: read from a file, boxed for one gateway, kept while nothing changes. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, it } from 'node:test';
import { formatKey, isMoatError } from '@moat/core';
import {
  buildContract,
  canonicalize,
  checkContract,
  fileFromContract,
  formatBasicUser,
  formatDeploymentFile,
  formatDiagnostic,
  gatewaysToResolve,
  openSecret,
  parseContract,
  parseDeploymentFile,
  planChanges,
  resolveSecrets,
  type BuildInput,
  type Contract,
  type DeploymentFile,
  type GatewayPin,
} from '@moat/contract';
import { NOW, ana, deployment, gateway, web1 } from '../deployment.fixture.ts';

const PATH = './users.htpasswd';
const users = (fill: number): string =>
  `${formatBasicUser('ana', { log2N: 14, r: 8, p: 1, salt: new Uint8Array(16).fill(fill), hash: new Uint8Array(32) })}\n`;

const keys = ['one', 'two'].map(() => generateKeyPairSync('x25519'));
const [one, two] = keys.map(({ publicKey }) =>
  formatKey('x25519', publicKey.export({ type: 'spki', format: 'der' }).subarray(12)),
);
assert.ok(one && two);

function pin(domain: string, box: string | undefined = one): GatewayPin {
  return { domain, peers: [`/dns4/${domain}/tcp/4410/p2p/${gateway.peer}`], ...(box === undefined ? {} : { box }) };
}

const text = (auth: string, gateways = 'apps.example.com'): string => `version: 1
name: shop
members:
  web-1: { keeper: true, node: ${web1.peer} }
services:
  web: { on: [web-1], port: 80, protocol: http }
publish:
  shop: { gateway: ${gateways}, service: web, auth: { basic: { ${auth} } } }
`;
const FROM_FILE = text(`file: ${PATH}`);

function fileOf(source: string): DeploymentFile {
  const { file, diagnostics } = parseDeploymentFile(source, 'moat.yaml');
  assert.ok(file, diagnostics.map(formatDiagnostic).join('\n'));
  return file;
}

let fill = 0;
function build(source: string, current: Contract | null, changes: Partial<BuildInput> = {}): Contract {
  const contract = buildContract({
    file: fileOf(source),
    deployment,
    current,
    claims: [],
    ownerKeys: [{ name: 'ana', key: ana.key }],
    gateways: current === null ? new Map([['apps.example.com', pin('apps.example.com')]]) : new Map(),
    secrets: new Map([[PATH, users(1)]]),
    now: NOW,
    random: (bytes) => new Uint8Array(bytes).fill(++fill),
    ...changes,
  });
  checkContract(contract);
  assert.deepEqual(parseContract(canonicalize(contract)), contract);
  return contract;
}

function lineOf(contract: Contract, i = 0): Contract['publish'][number] {
  const line = contract.publish[i];
  assert.ok(line);
  return line;
}

function opened(contract: Contract, i = 0, key = keys[0]?.privateKey): string {
  const { name, salt, auth } = lineOf(contract, i);
  assert.ok(auth?.basic && key);
  return Buffer.from(openSecret(auth.basic, key, { deployment, name, salt })).toString();
}

describe('the users of a name', () => {
  const v0 = build(FROM_FILE, null);

  it('are boxed for the gateway: the contract has them unread', () => {
    assert.equal(opened(v0), users(1));
    assert.ok(!canonicalize(v0).includes('scrypt'));
    assert.ok(!canonicalize(v0).includes('htpasswd'));
  });

  it('keep their box while the file says the same', () => {
    assert.equal(build(FROM_FILE, v0), v0);
    const moved = build(FROM_FILE.replace(PATH, './other'), v0, { secrets: new Map([['./other', users(1)]]) });
    assert.equal(moved, v0);
  });

  it('are boxed anew when the file or the key of the gateway changes', () => {
    const v1 = build(FROM_FILE, v0, { secrets: new Map([[PATH, users(2)]]) });
    assert.equal(opened(v1), users(2));
    const lines = planChanges(v0, v1).map(({ text: said }) => said);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /^public shop@apps.example.com: users list [\w-]{8} → list [\w-]{8}/);
    const rekeyed = build(FROM_FILE, v0, { gateways: new Map([['apps.example.com', pin('apps.example.com', two)]]) });
    assert.equal(opened(rekeyed, 0, keys[1]?.privateKey), users(1));
    assert.equal(lineOf(rekeyed).auth?.basic?.digest, lineOf(v0).auth?.basic?.digest);
    assert.throws(
      () => opened(rekeyed),
      (error) => isMoatError(error, 'SECRET_UNREADABLE'),
    );
  });

  it('differ in their box and digest from gateway to gateway', () => {
    const gateways = new Map(['apps.example.com', 'other.example'].map((domain) => [domain, pin(domain)]));
    const twice = build(text(`file: ${PATH}`, '[apps.example.com, other.example]'), null, { gateways });
    assert.deepEqual([opened(twice, 0), opened(twice, 1)], [users(1), users(1)]);
    assert.notEqual(lineOf(twice, 0).auth?.basic?.digest, lineOf(twice, 1).auth?.basic?.digest);
    const again = fileFromContract(twice);
    assert.equal(build(again, twice, { secrets: new Map() }), twice);
  });

  it('leave when the line says so, and a plan tells both', () => {
    const open = FROM_FILE.replace(/, auth: .*/, ' }');
    const v1 = build(open, v0);
    assert.equal(lineOf(v1).auth, undefined);
    assert.match(planChanges(v0, v1)[0]?.text ?? '', /users list [\w-]{8} → everybody/);
    assert.match(planChanges(null, v0).at(-1)?.text ?? '', /leads to web, asks for a password$/);
  });

  it('are kept as they are by a file written out from the contract', () => {
    const written = fileFromContract(v0);
    assert.match(written, /auth: \{ basic: \{ boxed: true \} \}/);
    assert.equal(formatDeploymentFile(written), written);
    assert.equal(build(written, v0, { secrets: new Map() }), v0);
    // Nothing to keep: a new deployment, a new name, another key of the gateway.
    const refused: readonly (readonly [string, Contract | null, Partial<BuildInput>])[] = [
      [text('boxed: true'), null, {}],
      [text('boxed: true').replace('shop: {', 'stock: {'), v0, {}],
      [written, v0, { gateways: new Map([['apps.example.com', pin('apps.example.com', two)]]) }],
      [FROM_FILE, v0, { secrets: new Map() }],
    ];
    for (const [source, current, changes] of refused) {
      assert.throws(() => build(source, current, changes), { code: 'SECRET_MISSING' });
    }
  });

  it('need a gateway with a key; one pinned without it is asked again', () => {
    const plain = build(FROM_FILE.replace(/, auth: .*/, ' }'), null, {
      gateways: new Map([['apps.example.com', withoutBox('apps.example.com')]]),
    });
    assert.deepEqual(gatewaysToResolve(fileOf(FROM_FILE), plain), ['apps.example.com']);
    assert.deepEqual(gatewaysToResolve(fileOf(FROM_FILE), v0), []);
    assert.throws(() => build(FROM_FILE, plain), { code: 'GATEWAY_BOX_MISSING' });
    const asked = build(FROM_FILE, plain, { gateways: new Map([['apps.example.com', pin('apps.example.com')]]) });
    assert.equal(opened(asked), users(1));
  });
});

function withoutBox(domain: string): GatewayPin {
  const { domain: of, peers } = pin(domain);
  return { domain: of, peers };
}

describe('reading files of users', () => {
  const resolve = async (read: (path: string) => Promise<string>, source = FROM_FILE) => {
    const parsed = parseDeploymentFile(source, 'moat.yaml');
    assert.ok(parsed.file);
    return resolveSecrets(read, { file: parsed.file, locate: parsed.locate }, 'moat.yaml');
  };

  it('reads each once', async () => {
    const asked: string[] = [];
    const second = FROM_FILE + FROM_FILE.split('\n').at(-2)?.replace('shop: {', 'stock: {') + '\n';
    const { secrets, diagnostics } = await resolve(async (path) => {
      asked.push(path);
      return Promise.resolve(users(1));
    }, second);
    assert.deepEqual([asked, diagnostics], [[PATH], []]);
    assert.deepEqual([...secrets], [[PATH, users(1)]]);
  });

  it('says where the path stands and why the file will not do, and nothing of its text', async () => {
    const hunter2 = 'ana:hunter2\n';
    const said = async (read: () => Promise<string>): Promise<string[]> => {
      const { secrets, diagnostics } = await resolve(read);
      assert.equal(secrets.size, 0);
      return diagnostics.map((one) => `${one.code} ${formatDiagnostic(one)}`);
    };
    const at = 'moat.yaml:8:75 publish.shop.auth.basic.file:';
    assert.deepEqual(await said(() => Promise.reject(new Error('no such file'))), [
      `SECRET_MISSING ${at} cannot be read: no such file`,
    ]);
    const [plain] = await said(() => Promise.resolve(hunter2));
    assert.match(
      plain ?? '',
      /^USERS_INVALID moat\.yaml:8:\d+ publish\.shop\.auth\.basic\.file: is no file of users: line 1/,
    );
    assert.ok(!plain?.includes('hunter2'));
    assert.match((await said(() => Promise.resolve('')))[0] ?? '', /names no user/);
    assert.match((await said(() => Promise.resolve('#'.repeat(16_385))))[0] ?? '', /larger than 16 KiB/);
  });
});

describe('the other ways in', () => {
  const CA = `-----BEGIN CERTIFICATE-----\n${'A'.repeat(64)}\n-----END CERTIFICATE-----\n`;
  const source = (auth: string): string => text('boxed: true').replace('basic: { boxed: true }', auth);
  const WAYS = source(
    'oidc: { issuer: https://login.example, client: shop, secret: { file: ./secret }, emails: [z@x.example, a@x.example], domains: [y.example] }, mtls: { ca: ./ca.pem }, keys: [owners, members, web-1]',
  );
  const secrets = new Map([
    ['./secret', 'hush\n'],
    ['./ca.pem', CA.replaceAll('\n', '\r\n')],
  ]);
  const v0 = build(WAYS, null, { secrets });

  it('a secret of a provider is boxed, certificates are not, and names of keys are keys', () => {
    const { auth, name, salt } = lineOf(v0);
    const key = keys[0]?.privateKey;
    assert.ok(auth?.oidc && key);
    assert.equal(Buffer.from(openSecret(auth.oidc.secret, key, { deployment, name, salt })).toString(), 'hush');
    assert.deepEqual(
      [auth.oidc.issuer, auth.oidc.clientId, auth.oidc.emails, auth.oidc.emailDomains],
      ['https://login.example', 'shop', ['a@x.example', 'z@x.example'], ['y.example']],
    );
    assert.equal(auth.mtls?.ca, CA);
    assert.deepEqual(auth.keys, [ana.key, web1.key].sort());
    assert.ok(!canonicalize(v0).includes('hush'));
    assert.match(
      planChanges(null, v0).at(-1)?.text ?? '',
      /asks for a sign-in at https:\/\/login.example or a client certificate or one of 2 keys$/,
    );
  });

  it('applying twice changes nothing, nor does a file written out', () => {
    assert.equal(build(WAYS, v0, { secrets }), v0);
    const written = fileFromContract(v0);
    assert.equal(formatDeploymentFile(written), written);
    assert.equal(build(written, v0, { secrets: new Map() }), v0);
  });

  it('their files are looked at before anything is signed', async () => {
    const parsed = parseDeploymentFile(WAYS, 'moat.yaml');
    assert.ok(parsed.file);
    const read = (path: string): Promise<string> => Promise.resolve(path === './secret' ? ' \n' : 'no certificate');
    const { diagnostics } = await resolveSecrets(read, { ...parsed, file: parsed.file }, 'moat.yaml');
    assert.deepEqual(
      diagnostics.map(({ code, path }) => [code, path]),
      [
        ['SECRET_MISSING', 'publish.shop.auth.oidc.secret.file'],
        ['FILE_INVALID', 'publish.shop.auth.mtls.ca'],
      ],
    );
  });
});

describe('ways in that members ask for too', () => {
  const held = (ways: string): string =>
    text('file: x').replace(/auth: .*\n/, `enforce: member, auth: { ${ways} } }\n`);
  const FROM_USERS = held(`basic: { file: ${PATH} }, keys: [owners]`);
  const secrets = new Map([[PATH, `# ana is on leave\n\n${users(1)}`]]);

  it('the contract has the hashes, and nothing else of the file', () => {
    const contract = build(FROM_USERS, null, { secrets });
    assert.deepEqual(lineOf(contract).auth, { users: users(1), keys: [ana.key], enforce: 'member' });
    assert.deepEqual(lineOf(contract).rules, { enforce: 'member' });
    const kept = held('basic: { boxed: true }, keys: [owners]');
    assert.deepEqual(lineOf(build(kept, contract)).auth, lineOf(contract).auth);
    assert.deepEqual(
      lineOf(build(formatDeploymentFile(fileFromContract(contract)), contract)).auth,
      lineOf(contract).auth,
    );
    const before = build(FROM_FILE, null);
    const said = planChanges(before, build(FROM_USERS, before, { secrets }))
      .map((change) => change.text)
      .join('\n');
    assert.match(said, /which members read/);
    assert.match(said, /members too/);
    assert.throws(() => build(kept, before), { code: 'SECRET_MISSING' });
  });

  it('needs no box key of the gateway', () => {
    const gateways = new Map([['apps.example.com', { ...pin('apps.example.com'), box: undefined }]]);
    const bare = new Map([...gateways].map(([domain, { peers }]) => [domain, { domain, peers }]));
    assert.equal(lineOf(build(FROM_USERS, null, { secrets, gateways: bare })).auth?.users, users(1));
  });

  it('are those that members can check', () => {
    for (const way of [
      'mtls: { ca: ./ca.pem }',
      'oidc: { issuer: https://login.example, client: c, secret: { file: ./s } }',
    ]) {
      const { file, diagnostics } = parseDeploymentFile(held(`${way}, keys: [owners]`), 'moat.yaml');
      assert.equal(file, undefined);
      assert.deepEqual(
        diagnostics.map(({ code }) => code),
        ['AUTH_UNENFORCEABLE'],
      );
    }
  });

  it('a contract that says otherwise is refused', () => {
    const contract = build(FROM_USERS, null, { secrets });
    const line = lineOf(contract);
    const mtls = { ca: 'x' };
    const wrong: readonly Partial<typeof line>[] = [
      { auth: { users: users(1) } },
      { auth: { enforce: 'member', keys: [ana.key], mtls } },
      { auth: { enforce: 'member', keys: [ana.key] }, rules: { compress: true } },
    ];
    for (const changed of wrong) {
      assert.throws(() => checkContract({ ...contract, publish: [{ ...line, ...changed }] }), {
        code: 'CONTRACT_INVALID',
      });
    }
    const unread = { ...contract, publish: [{ ...line, auth: { ...line.auth, users: 'ana:secret\n' } }] };
    assert.throws(() => parseContract(canonicalize(unread)), { code: 'CONTRACT_INVALID' });
    const nobody = { ...contract, publish: [{ ...line, auth: { enforce: 'member' } }] };
    assert.throws(() => parseContract(canonicalize(nobody)), { code: 'CONTRACT_INVALID' });
  });
});
