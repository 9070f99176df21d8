import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { FakeAgent } from './support/fake-agent.ts';
import { Terminal, interruption } from './support/terminal.ts';

async function withAgent(work: (terminal: Terminal, agent: FakeAgent) => Promise<void>): Promise<void> {
  using terminal = new Terminal();
  await using agent = await FakeAgent.start(terminal.home);
  writeFileSync(
    terminal.path('moat.yaml'),
    `version: 1
name: shop
members:
  web-1: { node: ${agent.key.peerId}, tags: [web], keeper: true }
  db-1: {}
services:
  web: { on: [tag:web], port: 80, target: 127.0.0.1:3000, protocol: http }
  db: { on: [db-1], port: 5432 }
access:
  - { from: [tag:web], to: [db] }
`,
  );
  await terminal.run(['key', 'new']);
  const applied = await terminal.run(['apply', '--yes']);
  assert.equal(applied.exitCode, 0, applied.stderr);
  await work(terminal, agent);
}

const ASKING = [
  ['status'],
  ['node', 'status'],
  ['names'],
  ['ping', 'db'],
  ['explain', 'web-1', 'db'],
  ['forward', 'db'],
  ['run', '--', 'true'],
  ['node', 'expose', '80'],
  ['plan'],
  ['invite', 'db-1'],
  ['publish', 'web'],
  ['fmt', '--from-contract'],
  ['gateway', 'status'],
];

test('without an agent every verb that needs one is exit code 8 and says how to start it', async () => {
  using terminal = new Terminal();
  await terminal.run(['init', 'shop', '--member', 'web-1', '--yes']);
  for (const args of ASKING) {
    const separator = args.indexOf('--');
    const ran = await (separator < 0 ? terminal.json(args) : terminal.run(args.toSpliced(separator, 0, '--json')));
    assert.equal(ran.exitCode, 8, args.join(' '));
    assert.equal(ran.error.code, 'AGENT_NOT_RUNNING', args.join(' '));
    assert.match(ran.error.next.join(), /moat (node|gateway) run/);
    assert.equal(ran.stdout, '');
  }
});

test('every answer is one object with kind, version and data', async () => {
  await withAgent(async (terminal) => {
    for (const [args, kind] of [
      [['status'], 'status'],
      [['node', 'status'], 'node-status'],
      [['names'], 'names'],
      [['audit'], 'audit'],
      [['audit', '--network', 'shop'], 'audit'],
      [['ping', 'db', '-c', '2'], 'ping'],
      [['explain', 'web-1', 'db'], 'explanation'],
      [['node', 'expose', '5432'], 'exposed'],
      [['node', 'expose'], 'exposed-list'],
      [['node', 'unexpose', '5432'], 'unexposed'],
      [['forward'], 'forwards'],
      [['plan'], 'plan'],
      [['doctor'], 'doctor'],
    ] as const) {
      const ran = await terminal.json(args);
      const value = JSON.parse(ran.stdout) as object;
      assert.deepEqual(Object.keys(value), ['kind', 'version', 'data'], args.join(' '));
      assert.equal(ran.kind, kind);
      assert.equal(ran.stderr, '', args.join(' '));
    }
  });
});

test('status shows members, services and their addresses', async () => {
  await withAgent(async (terminal) => {
    const { stdout } = await terminal.run(['status']);
    assert.match(stdout, /shop {2}version 0, since .* {2}this machine is web-1 \(keeper\)/);
    assert.match(stdout, /✓ web-1 .* pinned, keeper {2}this machine/);
    assert.match(stdout, /· db-1 .* vacant/);
    assert.match(stdout, /db {3,}db\.shop\.internal:5432 {2}127\.9\.9\.9:5432/);
    assert.equal((await terminal.json(['status', '--network', 'other'])).exitCode, 5);
  });
});

test('status says why programs here have no address for a service', async () => {
  await withAgent(async (terminal, agent) => {
    const here = async (service: FakeAgent['serviceHere']): Promise<string> => {
      agent.serviceHere = { local: null, ...service };
      return /db\.shop\.internal:5432 {2}(.+?) {2,}/.exec((await terminal.run(['status'])).stdout)?.[1] ?? '';
    };
    assert.equal(await here({ exposed: true, granted: false }), 'this machine');
    assert.equal(await here({ granted: false }), 'not granted here');
    assert.equal(await here({ protocol: 'udp' }), 'UDP: moat wireguard up');
    assert.equal(await here({}), 'no address here');
  });
});

test('what is so by the setup of the agent is said by node status and in detail only', async () => {
  await withAgent(async (terminal, agent) => {
    agent.warnings.push(
      { code: 'LOOPBACK_SHARED', message: 'every user' },
      { code: 'KEY_ROTATION_WAITING', message: 'a key' },
    );
    const shown = (await terminal.run(['status'])).stdout;
    assert.match(shown, /KEY_ROTATION_WAITING/);
    assert.doesNotMatch(shown, /LOOPBACK_SHARED/);
    for (const args of [
      ['status', '-d'],
      ['node', 'status'],
    ]) {
      assert.match((await terminal.run(args)).stdout, /LOOPBACK_SHARED/);
    }
  });
});

test('ping --until-direct ends at the first direct answer, or says why there is none', async () => {
  await withAgent(async (terminal) => {
    const near = await terminal.run(['ping', 'near', '--until-direct']);
    assert.equal(near.exitCode, 0, near.stderr);
    assert.match(near.stdout, /relayed {2}1\.3 ms\n.*direct {2}1\.3 ms\n$/);
    const far = await terminal.run(['ping', 'far', '--until-direct', '0s']);
    assert.equal(far.exitCode, 7);
    assert.match(
      far.stderr,
      /no direct path to far[\s\S]*relayed: no direct way to db-1 \(192\.0\.2\.7:4410 refused\)/,
    );
    assert.equal((await terminal.json(['ping', 'far', '--until-direct', '0s'])).error.code, 'NOT_DIRECT');
    // What no waiting changes is not waited for.
    assert.equal((await terminal.run(['ping', 'near', '--until-direct', 'x'])).exitCode, 2);
  });
});

test('dns install changes nothing when the agent answers no names', async () => {
  await withAgent(async (terminal) => {
    const { exitCode, error } = await terminal.json(['node', 'dns', 'install']);
    assert.notEqual(exitCode, 0);
    assert.equal(error.code, 'DNS_OFF');
    assert.deepEqual(error.next, ['moat node status', 'moat node run']);
  });
});

test('explain takes members, services and tags, and says why', async () => {
  await withAgent(async (terminal) => {
    const allowed = await terminal.run(['explain', 'web', 'db']);
    assert.match(allowed.stdout, /✓ web \(web-1\) may reach db/);
    const denied = await terminal.json(['explain', 'db-1', 'web']);
    assert.equal(denied.exitCode, 0);
    assert.deepEqual([denied.data['allowed'], denied.data['code']], [false, 'GRANT_DENIED']);
    assert.equal((await terminal.json(['explain', 'nobody', 'db'])).error.code, 'MEMBER_UNKNOWN');
  });
});

test('what the agent refuses keeps its code', async () => {
  await withAgent(async (terminal) => {
    const { exitCode, error } = await terminal.json(['ping', 'nobody']);
    assert.equal(exitCode, 1);
    assert.equal(error.code, 'PEER_UNREACHABLE');
    assert.equal((await terminal.json(['node', 'unexpose', '1'])).exitCode, 5);
  });
});

test('join takes the token from a file or stdin and never from the command line', async () => {
  await withAgent(async (terminal, agent) => {
    const token = 'moat1.secret';
    writeFileSync(terminal.path('token.txt'), `${token}\n`);
    const joined = await terminal.run([
      'join',
      'token.txt',
      '--expose',
      '5432',
      '--expose',
      '3000,public',
      '--wait',
      '5s',
    ]);
    assert.equal(joined.exitCode, 0, joined.stderr);
    assert.match(joined.stdout, /this machine is db-1 of shop/);
    assert.deepEqual(agent.joins[0], {
      token,
      expose: [{ target: '5432' }, { target: '3000', public: true }],
      waitMs: 5000,
    });
    assert.equal((await terminal.run(['join', '-'], { stdin: token })).exitCode, 0);
    assert.equal(agent.joins.length, 2);
    const wrong: readonly [string[], string, number][] = [
      [['join', 'no-such-file'], 'FILE_MISSING', 5],
      [['join', '-'], 'TOKEN_INVALID', 3],
      [['join', 'token.txt', '--expose', 'ssh'], 'TARGET_INVALID', 2],
    ];
    for (const [args, code, exitCode] of wrong) {
      const ran = await terminal.json(args);
      assert.deepEqual([ran.error.code, ran.exitCode], [code, exitCode]);
      assert.ok(!ran.stderr.includes('secret'));
    }
  });
});

test('forward holds until Ctrl-C and takes itself back', async () => {
  await withAgent(async (terminal, agent) => {
    const ctrlC = interruption();
    const { exitCode, stdout } = await terminal.run(['forward', 'db', '--local', '7001'], {
      signal: ctrlC.signal,
      onStdout: () => {
        assert.equal(agent.forwards.length, 1);
        ctrlC.press();
      },
    });
    assert.equal(exitCode, 0);
    assert.match(stdout, /127\.0\.0\.1:7001 → db {3}until Ctrl-C/);
    assert.equal(agent.forwards.length, 0);
    assert.equal((await terminal.run(['forward', 'db', '--bg'])).exitCode, 0);
    assert.equal(agent.forwards.length, 1);
    assert.equal((await terminal.json(['forward', 'db', '--local', 'somewhere'])).error.code, 'TARGET_INVALID');
  });
});

test('without a gateway, audit tells which versions were accepted and who signed them', async () => {
  await withAgent(async (terminal) => {
    const { data } = await terminal.json(['audit', '--since', '3650d']);
    const lines = data['lines'] as { action: string; subject: string; details: { version: number } }[];
    assert.deepEqual(
      lines
        .filter(({ action }) => action === 'version.accepted')
        .map(({ subject, details }) => [subject, details.version]),
      [['shop', 0]],
    );
    const refused = await terminal.json(['audit', '--network', 'shop', '--verify']);
    assert.equal(refused.error.code, 'USAGE');
  });
});

test('doctor names problems with a fix and ends with 9', async () => {
  using terminal = new Terminal();
  const { exitCode, data, stdout } = await terminal.json(['doctor']);
  assert.equal(exitCode, 9, stdout);
  const findings = data['findings'] as { name: string; result: string; fix?: string }[];
  const agent = findings.find(({ name }) => name === 'agent');
  assert.deepEqual([agent?.result, agent?.fix], ['problem', 'moat node run']);
  assert.ok(findings.some(({ name }) => name === 'Node'));
});

test('status says how long no keeper has confirmed the version, and what comes of it', async () => {
  await withAgent(async (terminal, agent) => {
    const minutes = 60_000;
    const shown = async (freshness: FakeAgent['freshness']): Promise<string> => {
      agent.freshness = freshness;
      return (await terminal.run(['status'])).stdout;
    };
    assert.doesNotMatch(await shown({ ageMs: 5 * minutes, maxStaleMs: null, state: 'fresh' }), /no keeper/);
    const old = await shown({ ageMs: 90 * minutes, maxStaleMs: null, state: 'fresh' });
    assert.match(old, /no keeper has confirmed this version for 1h ?30m/);
    const aging = await shown({ ageMs: 40 * minutes, maxStaleMs: 60 * minutes, state: 'aging' });
    assert.match(aging, /! no keeper .* for 40 min; everything stops after 1h.*STALE_SOON/);
    const stale = await shown({ ageMs: 61 * minutes, maxStaleMs: 60 * minutes, state: 'stale' });
    assert.match(stale, /✗ no keeper .* everything is stopped.*STALE/);
  });
});

test('rotate-key prints the line for the file of each network', async () => {
  await withAgent(async (terminal) => {
    const ran = await terminal.run(['node', 'rotate-key']);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stdout, /shop: {2}members: \{ db-1: \{ node: 12D3Koo\w+ \} \}/);
    const { data } = JSON.parse((await terminal.json(['node', 'rotate-key'])).stdout) as { data: { next: string } };
    assert.match(data.next, /^12D3Koo/);
  });
});
