/**
 * Each golden/NAME.yaml.txt is validated, and built when it is valid; golden/NAME.expected.txt holds what comes out.
 * After a change that is meant, `MOAT_GOLDEN=write node --conditions=@moat/source --test …/golden.test.ts` and read the diff.
 */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  buildContract,
  checkContract,
  formatDiagnostic,
  parseContract,
  parseDeploymentFile,
  type DeploymentFile,
  type GatewayPin,
} from '@moat/contract';
import { NOW, ana, deployment, gateway, web1 } from '../deployment.fixture.ts';

const directory = new URL('golden/', import.meta.url);

function build(file: DeploymentFile): string {
  const pin = (domain: string): [string, GatewayPin] => [
    domain,
    { domain, peers: [`/dns4/${domain}/tcp/4410/p2p/${gateway.peer}`] },
  ];
  let salts = 0;
  const contract = buildContract({
    file,
    deployment,
    current: null,
    claims: [],
    ownerKeys: [{ name: 'ana', key: ana.key }],
    gateways: new Map([pin('apps.example.com'), pin('other.example')]),
    anchors: new Map([['gw.example.com', pin('gw.example.com')[1].peers]]),
    pins: new Map(file.members[0]?.node === undefined ? [['here', { node: web1.peer }]] : []),
    now: NOW,
    random: (bytes) => new Uint8Array(bytes).fill(++salts),
  });
  checkContract(contract);
  assert.deepEqual(parseContract(JSON.stringify(contract)), contract);
  return JSON.stringify(contract, null, 2);
}

describe('golden files', () => {
  for (const name of readdirSync(directory).filter((entry) => entry.endsWith('.yaml.txt'))) {
    it(name, () => {
      const { file, diagnostics } = parseDeploymentFile(readFileSync(new URL(name, directory), 'utf8'), 'moat.yaml');
      const lines = diagnostics.map((diagnostic) => `${diagnostic.code} ${formatDiagnostic(diagnostic)}`);
      const found = `${[...lines, ...(file === undefined ? [] : [build(file)])].join('\n')}\n`;
      assert.equal(file !== undefined, name.startsWith('valid-'), found);
      for (const { pass } of diagnostics) assert.ok(name.startsWith(`${pass}-`), pass);
      const expected = new URL(name.replace('.yaml.txt', '.expected.txt'), directory);
      if (process.env['MOAT_GOLDEN'] === 'write') writeFileSync(expected, found);
      assert.equal(found, readFileSync(expected, 'utf8'));
    });
  }
});
