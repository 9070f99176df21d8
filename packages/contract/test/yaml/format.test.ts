import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import { isMoatError } from '@moat/core';
import { fileFromContract, formatDeploymentFile, parseDeploymentFile, type Contract } from '@moat/contract';
import { contract } from '../deployment.fixture.ts';

const UNTIDY = `# yaml-language-server: $schema=x
#
# about this file

version:   1
name: shop      # ends in .shop.internal


members:   # places
    # the page
    web-1: {tags: [ web ],keeper: true}
    db-1: {}   # the database

    laptop:
       expires:   30d
access:
- {from: [tag:web], to: [ db ]}
-   from: [a]
    to: [b]
publish:   # public
  # names
  shop: { gateway: {domain: apps.example.com, peers: [/dns4/apps.example.com/tcp/4410/p2p/12D3KooWxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]}, service: web}
  x: "quoted"
# the end
`;

const TIDY = `# yaml-language-server: $schema=x
#
# about this file

version: 1
name: shop # ends in .shop.internal

members: # places
  # the page
  web-1: { tags: [web], keeper: true }
  db-1: {} # the database

  laptop:
    expires: 30d
access:
  - { from: [tag:web], to: [db] }
  - from: [a]
    to: [b]
publish: # public
  # names
  shop:
    gateway:
      domain: apps.example.com
      peers: [/dns4/apps.example.com/tcp/4410/p2p/12D3KooWxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]
    service: web
  x: "quoted"
# the end
`;

const golden = new URL('golden/', import.meta.url);

describe('formatting a file', () => {
  it('evens it out and keeps comments, blank lines and order', () => {
    assert.equal(formatDeploymentFile(UNTIDY), TIDY);
  });

  it('changes nothing the second time, and never what the file says', () => {
    const valid = readdirSync(golden).filter((name) => name.startsWith('valid-') && name.endsWith('.yaml.txt'));
    for (const text of [UNTIDY, ...valid.map((name) => readFileSync(new URL(name, golden), 'utf8'))]) {
      const once = formatDeploymentFile(text);
      assert.equal(formatDeploymentFile(once), once);
      assert.deepEqual(parseDeploymentFile(once, 'f').file, parseDeploymentFile(text, 'f').file);
    }
  });

  it('writes rules out as they are read', () => {
    const { file } = parseDeploymentFile(readFileSync(new URL('valid-rules.yaml.txt', golden), 'utf8'), 'f');
    assert.ok(file);
    const lines = file.publish;
    assert.ok(lines.length > 2);
    const publish = lines.map(({ name, service, tls, rules }): Contract['publish'][number] => {
      assert.ok(contract.publish[0] && rules);
      return { ...contract.publish[0], name, service, tls, rules };
    });
    const again = parseDeploymentFile(
      fileFromContract({ ...contract, publish, services: file.services.map((each) => ({ ...each, on: ['web-1'] })) }),
      'f',
    ).file;
    assert.deepEqual(
      again?.publish.map(({ rules }) => rules),
      lines.map(({ rules }) => rules),
    );
  });

  it('leaves a last comment where it is', () => {
    for (const text of [
      'a: 1\n# last\n',
      'a: 1\n\n# last\n',
      'a:\n  b: 1 # x\n# last\n# two\n',
      'a:\n  - b\n\n# last\n\n# two\n',
      'a:\n  b: 1\n  # inner\n',
      '# only a comment\n',
    ]) {
      assert.equal(formatDeploymentFile(text), text);
    }
    assert.equal(formatDeploymentFile('a: {b: 1}\n# last'), 'a: { b: 1 }\n# last\n');
    assert.equal(formatDeploymentFile(''), '');
  });

  it('refuses what is no YAML, with the place', () => {
    assert.throws(
      () => formatDeploymentFile('a: [1\nb: 2'),
      (error) => isMoatError(error, 'FILE_SYNTAX') && error.message.startsWith('line 2, column 1: '),
    );
    assert.throws(
      () => formatDeploymentFile('a: 1\na: 2'),
      (error) => isMoatError(error, 'DUPLICATE'),
    );
  });
});

describe('a file from a contract', () => {
  it('reads as a person would have written it', () => {
    assert.equal(
      fileFromContract(contract)
        .replaceAll(/ed25519:\S+/g, 'ed25519:…')
        .replaceAll(/12D3Koo\w+/g, '12D3Koo…'),
      `# yaml-language-server: $schema=./node_modules/@moat/contract/schema/moat.v1.json

version: 1
name: shop
owners:
  threshold: 2
  keys:
    ana: ed25519:…
    ben: ed25519:…
    cleo: ed25519:…
network: { ipv4: 10.77.0.0/16, plane: auto }
anchors:
  - /dns4/gw.example.com/tcp/4410/p2p/12D3Koo…

members:
  web-1: { tags: [web], keeper: true }
  db-1: {}
  laptop: { tags: [web], expires: 2026-12-20T00:00:00Z }
  spare: {}

services:
  web: { on: [tag:web], port: 80, target: 127.0.0.1:3000, protocol: http, health: /healthz }
  db: { on: [db-1], port: 5432, target: 127.0.0.1:5432 }

access:
  - { from: [tag:web], to: [db], expires: 2026-11-21T00:00:00Z }
  - { from: [laptop], to: [web] }

publish:
  shop: { gateway: apps.example.com, service: web }
`,
    );
  });

  it('is formatted already', () => {
    const text = fileFromContract(contract);
    assert.equal(formatDeploymentFile(text), text);
  });

  it('is refused where no file can say it', () => {
    const [line] = contract.publish;
    assert.ok(line);
    const other = { ...line, service: 'db', gateway: { ...line.gateway, domain: 'other.example' } };
    assert.throws(
      () => fileFromContract({ ...contract, publish: [line, other] }),
      (error) => isMoatError(error, 'CONTRACT_INVALID'),
    );
  });
});
