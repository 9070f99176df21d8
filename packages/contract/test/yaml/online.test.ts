import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  parseDeploymentFile,
  resolveOnline,
  type GatewayPin,
  type OnlineResolvers,
  type OnlineResult,
} from '@moat/contract';
import { contract, gateway } from '../deployment.fixture.ts';

const TEXT = `version: 1
name: shop
anchors: [gw.example.com, new.example]
members: { web-1: { keeper: true } }
services: { web: { on: [web-1], port: 80 } }
publish:
  shop: { gateway: [apps.example.com, other.example], service: web }
  blog: { gateway: other.example, service: web }
`;

const address = (host: string): string => `/dns4/${host}/tcp/4410/p2p/${gateway.peer}`;

function resolve(resolvers: Partial<OnlineResolvers>, current: typeof contract | null = null): Promise<OnlineResult> {
  const { file, locate } = parseDeploymentFile(TEXT, 'moat.yaml');
  assert.ok(file);
  const complete: OnlineResolvers = {
    gateway: (domain) => Promise.resolve({ domain, peers: [address(domain)] }),
    anchor: (host) => Promise.resolve([address(host)]),
    ...resolvers,
  };
  return resolveOnline(
    complete,
    { file, locate },
    { fileName: 'moat.yaml', current, signal: new AbortController().signal },
  );
}

const findings = ({ diagnostics }: OnlineResult): string[] =>
  diagnostics.map(({ line, col, code, pass, message }) => `${pass} ${line}:${col} ${code} ${message}`);

describe('the online pass', () => {
  it('asks each domain once', async () => {
    const asked: string[] = [];
    const result = await resolve({
      gateway: (domain) => {
        asked.push(domain);
        return Promise.resolve({ domain, peers: [address(domain)] });
      },
    });
    assert.deepEqual(asked.sort(), ['apps.example.com', 'other.example']);
    assert.deepEqual([...result.anchors.keys()].sort(), ['gw.example.com', 'new.example']);
    assert.deepEqual(result.diagnostics, []);
  });

  it('does not ask again for what the current version pins', async () => {
    const result = await resolve({}, contract);
    assert.deepEqual([...result.gateways.keys()], ['other.example']);
    assert.deepEqual([...result.anchors.keys()], ['new.example']);
  });

  it('says where a domain stands that does not answer', async () => {
    const result = await resolve({
      gateway: () => Promise.reject(new Error('no such host')),
      anchor: (host) =>
        host === 'new.example' ? Promise.reject(new Error('timed out')) : Promise.resolve([address(host)]),
    });
    assert.deepEqual(findings(result), [
      'online 3:27 ANCHOR_UNRESOLVED anchor new.example cannot be resolved: timed out',
      'online 7:21 GATEWAY_UNRESOLVED gateway apps.example.com cannot be resolved: no such host',
      'online 7:39 GATEWAY_UNRESOLVED gateway other.example cannot be resolved: no such host',
    ]);
  });

  it('takes no pin that is for another domain or names no peer', async () => {
    const answers: unknown[] = [
      { domain: 'evil.example', peers: [address('evil.example')] },
      { domain: 'apps.example.com', peers: [] },
      { domain: 'apps.example.com', peers: ['/ip4/127.0.0.1/tcp/22'] },
      { domain: 'apps.example.com', peers: [`${address('a')}/p2p-circuit/p2p/${gateway.peer}`] },
      { domain: 'apps.example.com', peers: Array.from({ length: 17 }, (_, i) => address(`a${i}`)) },
      { domain: 'apps.example.com', peers: [address('a')], box: 'x25519:short' },
      { domain: 7, peers: 'x' },
      null,
    ];
    for (const answer of answers) {
      const result = await resolve({ gateway: () => Promise.resolve(answer as GatewayPin) });
      assert.equal(result.gateways.size, 0);
      assert.equal(result.diagnostics.length, 2);
    }
  });
});
