/** The rules of the DNS, each a row; and anything at all as a question. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { decode } from 'dns-packet';
import fc from 'fast-check';
import { respond } from '../../src/dns/responder.ts';
import { challengeTarget } from '../../src/dns/zone.ts';
import { ask, queryOf, told, zone } from './zone.ts';

const SOA_TTL = 30;

function negative(packet: ReturnType<typeof ask>): string[] {
  return (packet.authorities ?? []).map(
    (record) => `${record.name} ${record.type} ${'ttl' in record ? record.ttl : ''}`,
  );
}

suite('RFC 1034 and 1035: an authoritative server', () => {
  test('§4.3.2 answers for its zone with AA, and for any one label below it', () => {
    for (const name of [
      'apps.example.com',
      'shop.apps.example.com',
      'nobody-has-it.apps.example.com',
      '*.apps.example.com',
    ]) {
      const packet = ask(zone(), name, 'A');
      assert.equal(packet.flag_aa, true);
      assert.deepEqual(told(packet), ['A 192.0.2.1']);
      assert.deepEqual(told(ask(zone(), name, 'AAAA')), ['AAAA 2001:db8::1']);
    }
  });

  test('§4.3.1 refuses what lies in no zone of its own, and never says that it recurses', () => {
    for (const name of ['example.com', 'www.shop.example', 'xapps.example.com', 'com', '']) {
      const packet = ask(zone(), name || '.', 'A', { flags: 0x0100 });
      assert.equal(packet.rcode, 'REFUSED', name);
      assert.equal(packet.flag_ra, false);
      assert.equal(packet.flag_aa, false);
    }
  });

  test('§4.1.1 copies id and RD, and the question as it was spelled (0x20)', () => {
    const packet = ask(zone(), 'ShOp.ApPs.eXample.cOm', 'A', { flags: 0x0100 });
    assert.equal(packet.id, 4711);
    assert.equal(packet.flag_rd, true);
    assert.equal(packet.questions?.[0]?.name, 'ShOp.ApPs.eXample.cOm');
    assert.equal(packet.answers?.[0]?.name, 'ShOp.ApPs.eXample.cOm');
  });

  test('SOA and NS stand at the apex; name servers of the zone have every address', () => {
    const soa = ask(zone(), 'apps.example.com', 'SOA').answers?.[0] as unknown as { data: Record<string, unknown> };
    assert.deepEqual(
      [soa.data['mname'], soa.data['rname'], soa.data['serial'], soa.data['minimum']],
      ['ns1.apps.example.com', 'hostmaster.apps.example.com', 7, SOA_TTL],
    );
    assert.deepEqual(told(ask(zone(), 'apps.example.com', 'NS')), [
      'NS ns1.apps.example.com',
      'NS ns.elsewhere.example',
    ]);
    assert.deepEqual(told(ask(zone(), 'ns1.apps.example.com', 'A')), ['A 192.0.2.1', 'A 192.0.2.2']);
  });

  test('another class, a transfer and another opcode are not served', () => {
    assert.equal(ask(zone(), 'apps.example.com', 'TXT', { class: 'CH' }).rcode, 'REFUSED');
    for (const type of ['AXFR', 'IXFR']) assert.equal(ask(zone(), 'apps.example.com', type).rcode, 'REFUSED');
    const notify = queryOf('apps.example.com', 'SOA', { flags: 4 << 11 });
    const answer = respond(zone(), notify, 'udp');
    assert.equal((answer?.readUInt16BE(2) ?? 0) & 0xf, 4);
  });

  test('§4.1 what is no single question is FORMERR; an answer gets none', () => {
    const query = queryOf('apps.example.com', 'A');
    const broken: Buffer[] = [
      Buffer.concat([query, Buffer.of(0)]),
      query.subarray(0, query.length - 1),
      Buffer.concat([query.subarray(0, 12), Buffer.of(0xc0, 0x0c, 0, 1, 0, 1)]),
      Buffer.concat([query.subarray(0, 12), Buffer.of(0x40), query.subarray(13)]),
      Buffer.concat([query.subarray(0, 12), Buffer.alloc(260, 1), Buffer.of(0, 0, 1, 0, 1)]),
      header(query, 4, 0),
      header(query, 4, 2),
      header(query, 6, 1),
      header(query, 10, 9),
    ];
    for (const [i, message] of broken.entries()) {
      const answer = respond(zone(), message, 'udp');
      assert.equal(answer && answer.readUInt16BE(2) & 0xf, 1, `row ${i}`);
      assert.equal(answer?.length, 12);
    }
    assert.equal(respond(zone(), query.subarray(0, 11), 'udp'), undefined);
    assert.equal(respond(zone(), header(query, 2, 0x8000), 'udp'), undefined);
  });
});

suite('RFC 2308 and 8020: what is not there', () => {
  test('NODATA for a name without the type, NXDOMAIN for no name, each with the SOA for as long as it may be remembered', () => {
    const nodata = ask(zone(), 'shop.apps.example.com', 'MX');
    assert.equal(nodata.rcode, 'NOERROR');
    assert.deepEqual(nodata.answers, []);
    assert.deepEqual(negative(nodata), [`apps.example.com SOA ${SOA_TTL}`]);
    for (const name of [
      'a.b.apps.example.com',
      '_moat.apps.example.com',
      '_acme-challenge.apps.example.com',
      'ä.apps.example.com',
    ]) {
      const absent = ask(zone(), name, 'TXT');
      assert.equal(absent.rcode, 'NXDOMAIN', name);
      assert.equal(absent.flag_aa, true);
      assert.deepEqual(negative(absent), [`apps.example.com SOA ${SOA_TTL}`]);
    }
  });

  test('a name that only has others below it is there', () => {
    const view = zone({
      challenges: new Map([['www.shop.example', ['x']]]),
      texts: new Map([['a._k.apps.example.com', ['t']]]),
    });
    for (const name of ['_acme.apps.example.com', 'shop.example._acme.apps.example.com', '_k.apps.example.com']) {
      assert.equal(ask(view, name, 'TXT').rcode, 'NOERROR', name);
    }
    assert.equal(ask(view, 'other.example._acme.apps.example.com', 'TXT').rcode, 'NXDOMAIN');
  });
});

suite('RFC 6891: EDNS', () => {
  test('its record is answered by one of ours, its absence by none', () => {
    const [opt] = ask(zone(), 'apps.example.com', 'A', { edns: 4096 }).additionals ?? [];
    assert.deepEqual([opt?.type, (opt as { udpPayloadSize?: number }).udpPayloadSize], ['OPT', 1232]);
    assert.deepEqual(ask(zone(), 'apps.example.com', 'A').additionals, []);
  });

  test('§6.1.3 a version we do not speak is BADVERS', () => {
    const query = queryOf('apps.example.com', 'A', { edns: 1232 });
    query.writeUInt8(1, query.length - 5);
    const packet = decode(respond(zone(), query, 'udp') ?? Buffer.alloc(0));
    const [opt] = packet.additionals ?? [];
    assert.equal(opt?.type === 'OPT' && opt.extendedRcode, 1);
    assert.deepEqual(packet.answers, []);
  });

  test('§6.1.1 two of them, or one that is not at the root, are FORMERR', () => {
    const query = queryOf('apps.example.com', 'A', { edns: 1232 });
    const twice = header(Buffer.concat([query, query.subarray(-11)]), 10, 2);
    assert.equal((respond(zone(), twice, 'udp')?.readUInt16BE(2) ?? 0) & 0xf, 1);
    const named = Buffer.concat([query.subarray(0, -11), Buffer.of(1, 0x61), query.subarray(-11)]);
    assert.equal((respond(zone(), named, 'udp')?.readUInt16BE(2) ?? 0) & 0xf, 1);
  });

  test('an answer that does not fit is cut to nothing and asked for again over TCP', () => {
    const view = zone({ texts: new Map([['big.apps.example.com', ['x'.repeat(900), 'y'.repeat(400)]]]) });
    const sizes = { 512: undefined, 600: 600, 1232: 4096 };
    for (const [limit, edns] of Object.entries(sizes)) {
      const asked = edns === undefined ? {} : { edns };
      const answer = respond(view, queryOf('big.apps.example.com', 'TXT', asked), 'udp');
      assert.ok(answer && answer.length <= Number(limit));
      assert.deepEqual([decode(answer).flag_tc, decode(answer).answers], [true, []]);
    }
    const whole = ask(view, 'big.apps.example.com', 'TXT', { transport: 'tcp' });
    assert.deepEqual([whole.flag_tc, told(whole).map((text) => text.length)], [false, [904, 404]]);
  });
});

test('RFC 8482: ANY gets one small record', () => {
  for (const name of ['apps.example.com', 'shop.apps.example.com']) {
    const packet = ask(zone(), name, 'ANY');
    assert.deepEqual(told(packet), ['HINFO {"cpu":"RFC8482","os":""}']);
  }
  assert.equal(ask(zone(), 'a.b.apps.example.com', 'ANY').rcode, 'NXDOMAIN');
});

suite('RFC 8555: dns-01', () => {
  test('values stand under the domain, several at once, and are gone when they are taken away', () => {
    const challenges = new Map([
      ['apps.example.com', ['one', 'two']],
      ['shop.apps.example.com', ['three']],
    ]);
    const name = '_acme-challenge.apps.example.com';
    assert.deepEqual(told(ask(zone({ challenges }), name, 'TXT')), ['TXT one', 'TXT two']);
    assert.deepEqual(told(ask(zone({ challenges }), `_acme-challenge.shop.apps.example.com`, 'TXT')), ['TXT three']);
    assert.equal(ask(zone(), name, 'TXT').rcode, 'NXDOMAIN');
  });

  test('a host of somebody else is reached by CNAME into the zone, or by its own delegation', () => {
    const view = zone({ challenges: new Map([['www.shop.example', ['proof']]]) });
    const target = challengeTarget('www.shop.example', 'apps.example.com');
    assert.deepEqual(told(ask(view, target, 'TXT')), ['TXT proof']);
    assert.deepEqual(told(ask(view, '_acme-challenge.www.shop.example', 'TXT')), ['TXT proof']);
    assert.deepEqual(told(ask(view, '_acme-challenge.www.shop.example', 'NS')), [
      'NS ns1.apps.example.com',
      'NS ns.elsewhere.example',
    ]);
    assert.deepEqual(negative(ask(view, '_acme-challenge.www.shop.example', 'A')), [
      `_acme-challenge.www.shop.example SOA ${SOA_TTL}`,
    ]);
    assert.equal(ask(view, 'x._acme-challenge.www.shop.example', 'A').rcode, 'NXDOMAIN');
    assert.equal(ask(view, '_acme-challenge.other.example', 'TXT').rcode, 'REFUSED');
    assert.equal(ask(view, 'x_acme-challenge.www.shop.example', 'TXT').rcode, 'REFUSED');
  });
});

test('anything at all is answered within its size, or not at all, and never throws', () => {
  const view = zone({ texts: new Map([['big.apps.example.com', ['x'.repeat(3_000)]]]) });
  const seeds = ['big.apps.example.com', 'apps.example.com', 'a.b.apps.example.com'].flatMap((name) =>
    ['TXT', 'A', 'ANY', 'SOA'].flatMap((type) => [queryOf(name, type), queryOf(name, type, { edns: 4096 })]),
  );
  const mutated = fc
    .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 4 }), fc.nat(80))
    .map(([seed, changes, cut]) => {
      const bytes = Buffer.from(seed);
      for (const [at, value] of changes) if (at < bytes.length) bytes.writeUInt8(value, at);
      return cut < bytes.length && cut % 3 === 0 ? bytes.subarray(0, cut) : bytes;
    });
  const random = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.oneof(mutated, random), (message) => {
      const answer = respond(view, message, 'udp');
      if (answer === undefined) return;
      assert.ok(answer.length <= 1_232);
      assert.ok(answer.length <= 512 || message.subarray(-11).includes(0x29), 'more than 512 bytes only with EDNS');
      assert.equal(answer.readUInt16BE(0), message.readUInt16BE(0));
      assert.ok((answer.readUInt8(2) & 0x80) !== 0);
      decode(answer);
      const whole = respond(view, message, 'tcp');
      assert.ok(whole !== undefined && whole.length <= 65_535);
    }),
    { numRuns: 3_000 },
  );
});

function header(query: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(query);
  changed.writeUInt16BE(value, at);
  return changed;
}
