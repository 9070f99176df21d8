import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { suite, test } from 'node:test';
import type { FoundGiver } from '../../../src/plane/port-mapping/port-giver.ts';
import { externalPorts, upnpFinder } from '../../../src/plane/port-mapping/upnp-giver.ts';
import { FakeRouter, envelope, until } from './fake-router.ts';

const NEVER = new AbortController().signal;
const PORT = 51_820;
const [HANGS, SWITCHES] = ['nothing for two seconds', 'another protocol'];

/** Looks for the router by UPnP alone; the search ends when all that was found has been looked into. */
function find({ clock, router }: FakeRouter, signal = NEVER): Promise<FoundGiver> {
  assert.ok(router);
  return upnpFinder({ clock })(router, signal);
}

/** The same, where nothing that is found will do: time passes after `isDone`, while no answer is being read unless it `hangs`. */
async function findNone(router: FakeRouter, code: string, isDone: () => boolean, hangs = false): Promise<void> {
  const refused = assert.rejects(find(router), { code });
  await until(isDone);
  const search = { isOver: false };
  void refused.then(() => (search.isOver = true));
  while (!search.isOver) {
    if (hangs || router.connections === 0) router.clock.advance(100);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await refused;
}

suite('the router’s ports by UPnP', () => {
  test('one is had, renewed before it ends, and given back', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    const { mapper, clock } = router;
    const mapping = await mapper.map(PORT);
    const expires = clock.now() + 3_600_000;
    assert.deepEqual(mapping, { external: { host: '203.0.113.9', port: PORT }, expires, protocol: 'upnp' });
    assert.deepEqual(router.callsOf('AddPortMapping'), [
      {
        action: 'AddPortMapping',
        type: 'WANIPConnection:1',
        values: {
          NewRemoteHost: '',
          NewExternalPort: '51820',
          NewProtocol: 'UDP',
          NewInternalPort: '51820',
          NewInternalClient: '127.0.0.1',
          NewEnabled: '1',
          NewPortMappingDescription: 'Moat',
          NewLeaseDuration: '3600',
        },
      },
    ]);
    clock.advance(1_800_000);
    await until(() => (mapper.mapping(PORT)?.expires ?? 0) > expires);
    assert.equal(router.fetched.length, 1, 'it is not looked for again');
    await mapper.unmap(PORT);
    const values = { NewRemoteHost: '', NewExternalPort: '51820', NewProtocol: 'UDP' };
    assert.deepEqual(router.calls.at(-1), { action: 'DeletePortMapping', type: 'WANIPConnection:1', values });
    assert.equal(clock.pending, 0);
  });

  test('a router that speaks both is asked for one port by one of them', async () => {
    await using router = await FakeRouter.start({ natPmp: true, upnp: true });
    const mapping = await router.mapper.map(PORT);
    assert.ok(mapping);
    const [byNatPmp, byUpnp] = [router.asked.length, router.callsOf('AddPortMapping').length];
    assert.deepEqual([byNatPmp, byUpnp], mapping.protocol === 'nat-pmp' ? [1, 0] : [0, 1]);
  });

  test('where one protocol refuses, the other one serves', async () => {
    await using router = await FakeRouter.start({ natPmp: true, upnp: true });
    router.result = 2;
    assert.equal((await router.mapper.map(PORT))?.protocol, 'upnp');
    await using other = await FakeRouter.start({ natPmp: true, upnp: true });
    other.refuse = () => 606;
    assert.equal((await other.mapper.map(PORT))?.protocol, 'nat-pmp');
  });

  test('one that grants only what has no end is asked for that, once, and gets it back', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    const { mapper, clock } = router;
    router.refuse = ({ action, values }) =>
      action === 'AddPortMapping' && values['NewLeaseDuration'] !== '0' ? 725 : undefined;
    const leases = (): readonly string[] =>
      router.callsOf('AddPortMapping').map(({ values }) => values['NewLeaseDuration'] ?? '');
    assert.equal((await mapper.map(PORT))?.external.port, PORT);
    assert.deepEqual(leases(), ['3600', '0']);
    clock.advance(1_800_000);
    await until(() => leases().length === 3 && mapper.mapping(PORT)?.expires === clock.now() + 3_600_000);
    assert.deepEqual(leases(), ['3600', '0', '0']);
    await mapper.unmap(PORT);
    assert.equal(router.callsOf('DeletePortMapping').length, 1);
  });

  test('where the port leads to somebody else, three others are tried, always the same', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    const ports = (): readonly number[] =>
      router.callsOf('AddPortMapping').map(({ values }) => Number(values['NewExternalPort']));
    router.refuse = ({ action }) => (action === 'AddPortMapping' && ports().length < 3 ? 718 : undefined);
    const [first, second, third] = externalPorts(PORT);
    assert.equal((await router.mapper.map(PORT))?.external.port, third);
    assert.deepEqual(ports(), [first, second, third]);
    await router.mapper.unmap(PORT);
    assert.equal(router.calls.at(-1)?.values['NewExternalPort'], String(third));
    await using full = await FakeRouter.start({ upnp: true });
    full.refuse = ({ action }) => (action === 'AddPortMapping' ? 718 : undefined);
    const { giver } = await find(full);
    await assert.rejects(giver.give(PORT, NEVER), {
      code: 'ROUTER_REFUSED',
      details: { action: 'AddPortMapping', code: 718 },
    });
    assert.equal(full.callsOf('AddPortMapping').length, 4);
    for (const port of [1, 1_023, 1_024, 65_535]) {
      assert.equal(new Set(externalPorts(port)).size, 4);
      assert.ok(
        externalPorts(port)
          .slice(1)
          .every((each) => each >= 1_024 && each <= 65_535),
      );
    }
  });

  test('of several ways out the one with a public address is taken, the newest version first', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    const all = ['WANPPPConnection:1', 'WANIPConnection:1', 'Layer3Forwarding:1', 'WANIPConnection:2'];
    router.page = (response) => void response.end(router.description(all.map((type) => [type, `/${type}`])));
    router.reply = (response, { type }) => {
      const address = type === 'WANIPConnection:1' ? '203.0.113.9' : '192.168.9.9';
      response.end(envelope(`<NewExternalIPAddress>${address}</NewExternalIPAddress>`));
    };
    const { outside } = await find(router);
    assert.equal(outside, '203.0.113.9');
    assert.deepEqual(
      router.calls.map(({ type }) => type),
      ['WANIPConnection:2', 'WANIPConnection:1'],
    );
  });

  test('without a public address nothing is mapped', async () => {
    for (const address of ['10.1.2.3', '100.64.0.1', '0.0.0.0', '', 'example.com', '::1', '203.0.113.9.1']) {
      await using router = await FakeRouter.start({ upnp: true });
      router.externalAddress = address;
      await findNone(router, 'ROUTER_REFUSED', () => router.calls.length > 0);
      assert.deepEqual(router.callsOf('AddPortMapping'), []);
    }
  });

  test('a router whose services moved to another port is looked for again', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    let control = '/old';
    router.page = (response) => void response.end(router.description([['WANIPConnection:1', control]]));
    await router.mapper.map(PORT);
    control = '/new';
    router.reply = (response, { action }) => {
      response.end(
        envelope(
          action === 'GetExternalIPAddress' && router.fetched.length > 1
            ? '<NewExternalIPAddress>203.0.113.10</NewExternalIPAddress>'
            : '',
        ),
      );
    };
    const moved = Promise.withResolvers<number>();
    router.mapper.onChange(moved.resolve);
    router.clock.advance(1_800_000);
    await moved.promise;
    assert.equal(router.mapper.mapping(PORT)?.external.host, '203.0.113.10');
  });

  test('a router that does not answer is ROUTER_SILENT', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    router.answers = () => [];
    await findNone(router, 'ROUTER_SILENT', () => router.searches > 0);
    assert.equal(router.searches, 4, 'for two versions, twice');
    assert.ok(router.router);
    await assert.rejects(upnpFinder(router)({ ...router.router, searchAt: [] }, NEVER), { code: 'ROUTER_SILENT' });
  });

  test('who gives up gets the signal’s reason', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    router.page = () => undefined;
    const controller = new AbortController();
    const found = find(router, controller.signal);
    await until(() => router.fetched.length === 1);
    controller.abort(new Error('enough'));
    await assert.rejects(found, /enough/);
    assert.equal(router.clock.pending, 0);
  });
});

suite('a hostile LAN', () => {
  test('answers of others, and those that point to others, are not believed', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    const stranger = createSocket('udp4');
    stranger.bind(0, '127.0.0.2');
    await once(stranger, 'listening');
    assert.ok(router.router);
    const search = createSocket('udp4');
    search.bind(0, '127.0.0.1');
    await once(search, 'listening');
    // Everybody in the LAN hears the search.
    search.on('message', (_, { port }) =>
      stranger.send(router.answer(`${router.origin}/stranger.xml`), port, '127.0.0.1'),
    );
    const searchAt = [{ host: '127.0.0.1', port: search.address().port }, ...router.router.searchAt];
    router.router = { ...router.router, searchAt };
    const port = new URL(router.origin).port;
    router.answers = () =>
      [
        `http://127.0.0.2:${port}/`,
        `http://router.example:${port}/`,
        `http://127.0.0.1@127.0.0.2:${port}/`,
        `http://me:secret@127.0.0.1:${port}/`,
        `https://127.0.0.1:${port}/`,
        'file:///etc/passwd',
        'nonsense',
        '',
        `${router.origin}/${'x'.repeat(600)}`,
      ].map((location) => router.answer(location));
    await findNone(router, 'ROUTER_SILENT', () => router.searches > 1);
    assert.deepEqual(router.fetched, []);
    stranger.close();
    search.close();
  });

  test('a flood of others does not end the search; one of the router’s does', async () => {
    for (const from of ['127.0.0.2', '127.0.0.1']) {
      await using router = await FakeRouter.start({ upnp: true });
      const stranger = createSocket('udp4');
      stranger.bind(0, from);
      await once(stranger, 'listening');
      router.answers = () => [];
      assert.ok(router.router);
      const search = createSocket('udp4');
      search.bind(0, '127.0.0.1');
      await once(search, 'listening');
      search.once('message', (_, { port }) => {
        for (let i = 0; i < 65; i++) stranger.send('HTTP/1.1 200 OK\r\n\r\n', port, '127.0.0.1');
        stranger.send('', port, '127.0.0.1', () => {
          router.answers = () => [router.answer(`${router.origin}/root.xml`)];
          router.clock.advance(1_000);
        });
      });
      router.router = {
        ...router.router,
        searchAt: [...router.router.searchAt, { host: '127.0.0.1', port: search.address().port }],
      };
      const found = find(router);
      if (from === '127.0.0.2') assert.equal((await found).outside, '203.0.113.9');
      else await assert.rejects(found, { code: 'ROUTER_SILENT' });
      stranger.close();
      search.close();
    }
  });

  test('what is no answer, or too long, is not read', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    const good = router.answer(`${router.origin}/root.xml`);
    router.answers = () => [
      good.replace('200 OK', '404 Not Found'),
      good.replace('HTTP/1.1 200 OK', 'NOTIFY * HTTP/1.1'),
      good.replace('LOCATION', 'X-LOCATION'),
      `${good}${'x'.repeat(2_048)}`,
      '\0\xff'.repeat(20),
    ];
    await findNone(router, 'ROUTER_SILENT', () => router.searches > 1);
    assert.deepEqual(router.fetched, []);
  });

  test('a wrong place that is told first does not hide the right one, and only four are looked into', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    router.answers = () => ['/a', '/b', '/a', '/root.xml'].map((path) => router.answer(`${router.origin}${path}`));
    router.page = (response, path) => void response.end(path === '/root.xml' ? router.description() : '<root></root>');
    await find(router);
    assert.deepEqual(router.fetched, ['/a', '/b', '/root.xml']);
    await using flooded = await FakeRouter.start({ upnp: true });
    flooded.answers = () => Array.from({ length: 20 }, (_, i) => flooded.answer(`${flooded.origin}/${i}`));
    flooded.page = (response) => void response.end('<root></root>');
    await findNone(flooded, 'ROUTER_INVALID', () => flooded.fetched.length === 4);
    assert.equal(flooded.fetched.length, 4);
  });

  test('a control that stands elsewhere is not called', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    const port = new URL(router.origin).port;
    const controls = [
      'http://127.0.0.2/ip',
      '//127.0.0.2/ip',
      `https://127.0.0.1:${port}/ip`,
      'http://me@127.0.0.1/',
      '/caf\xe9',
      '',
      'javascript:1',
    ];
    router.page = (response) => {
      const base = `<URLBase>http://127.0.0.2:${port}/</URLBase>`;
      const text = router.description(controls.map((control) => ['WANIPConnection:1', control]));
      response.end(Buffer.from(text.replace('<device>', `${base}<device>`), 'latin1'));
    };
    await findNone(router, 'ROUTER_INVALID', () => router.fetched.length === 1);
    assert.deepEqual(router.calls, []);
  });

  test('a base of the router’s own counts, and bytes that are no UTF-8 do not matter elsewhere', async () => {
    await using router = await FakeRouter.start({ upnp: true });
    router.page = (response) => {
      const text = router
        .description([['WANIPConnection:1', 'ip?a=1&amp;b=2']])
        .replace('A &amp; B', 'Caf\xe9 \xff\xfe');
      response.end(
        Buffer.from(text.replace('<device>', `<URLBase>${router.origin}/base/</URLBase><device>`), 'latin1'),
      );
    };
    assert.equal((await find(router)).outside, '203.0.113.9');
  });

  const pages: Readonly<Record<string, { readonly code: string; readonly page: FakeRouter['page'] }>> = {
    'more than 64 KiB': {
      code: 'ROUTER_INVALID',
      page: (response) => void response.end(`<root>${'<a>b</a>'.repeat(9_000)}</root>`),
    },
    'a redirect': {
      code: 'ROUTER_INVALID',
      page: (response) => void response.writeHead(302, { location: 'http://127.0.0.2/' }).end(),
    },
    'entities that grow': {
      code: 'ROUTER_INVALID',
      page: (response) =>
        void response.end(
          '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]><root><controlURL>&b;</controlURL></root>',
        ),
    },
    'no HTTP': {
      code: 'ROUTER_INVALID',
      page: (response) => void response.socket?.end('hello\r\n\r\n'),
    },
    'an endless head': {
      code: 'ROUTER_INVALID',
      page: (response) => void response.writeHead(200, { 'x-a': 'y'.repeat(9_000) }).end(),
    },
    'another status': {
      code: 'ROUTER_INVALID',
      page: (response) => void response.writeHead(404).end('<root></root>'),
    },
    [SWITCHES]: {
      code: 'ROUTER_SILENT',
      page: (response) =>
        void response.socket?.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'),
    },
    'an answer that breaks off': {
      code: 'ROUTER_SILENT',
      page: (response) => {
        response.writeHead(200, { 'content-length': '100' });
        response.write('<root>', () => response.socket?.destroy());
      },
    },
    'a cut connection': {
      code: 'ROUTER_SILENT',
      page: (response) => void response.socket?.destroy(),
    },
    [HANGS]: {
      code: 'ROUTER_SILENT',
      page: (response) => void response.write('<root>'),
    },
  };
  for (const [what, { code, page }] of Object.entries(pages)) {
    test(`${what} is ${code}`, async () => {
      await using router = await FakeRouter.start({ upnp: true });
      router.page = page;
      await findNone(router, code, () => router.fetched.length === 1, [HANGS, SWITCHES].includes(what));
      assert.deepEqual(router.calls, []);
      assert.equal(router.clock.pending, 0);
    });
  }

  test('a service that answers nonsense maps nothing', async () => {
    for (const text of ['', 'ok', '<a>', envelope('<errorCode>abc</errorCode>'), '<!DOCTYPE a><a></a>']) {
      await using router = await FakeRouter.start({ upnp: true });
      router.reply = (response) => void response.writeHead(text.includes('errorCode') ? 500 : 200).end(text);
      // Without a tag there is no address in it.
      const code = text.includes('<') ? 'ROUTER_INVALID' : 'ROUTER_REFUSED';
      await findNone(router, code, () => router.calls.length > 0);
    }
  });
});
