import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { didYouMean, formatDuration, parseDuration, parseExpiry } from '@moat/contract';
import fc from 'fast-check';

describe('did you mean', () => {
  it('names the nearest word, and none when nothing is near', () => {
    const known = ['port', 'protocol', 'target', 'health', 'on'];
    assert.equal(didYouMean('protcol', known), 'did you mean protocol?');
    assert.equal(didYouMean('prot', known), 'did you mean port?');
    assert.equal(didYouMean('Target', known), 'did you mean target?');
    assert.equal(didYouMean('no', known), 'did you mean on?');
    assert.equal(didYouMean('image', known), undefined);
    assert.equal(didYouMean('x'.repeat(100_000), known), undefined);
    assert.equal(didYouMean('', known), undefined);
  });
});

describe('durations', () => {
  it('are read in their units', () => {
    const hour = 3_600_000;
    assert.equal(parseDuration('30d'), 720 * hour);
    assert.equal(parseDuration('1h'), hour);
    assert.equal(parseDuration('1h30m'), 1.5 * hour);
    assert.equal(parseDuration('1w2d3h4m5s'), (9 * 24 + 3) * hour + 245_000);
    for (const text of ['', '0s', '5', 'h', '1h1h', '1m1h', '-1h', '1.5h', '1 h', '9999w', '1y', '1H', '１h']) {
      assert.equal(parseDuration(text), undefined, text);
    }
  });

  it('come back from their shortest text', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_000_000_000 }), (seconds) => {
        assert.equal(parseDuration(formatDuration(seconds * 1000)), seconds * 1000);
      }),
    );
  });

  it('or instants end things', () => {
    assert.deepEqual(parseExpiry('2h'), { afterMs: 7_200_000 });
    assert.deepEqual(parseExpiry('2026-12-01'), { at: '2026-12-01T00:00:00Z' });
    assert.deepEqual(parseExpiry('2026-12-01T10:00:00.500Z'), { at: '2026-12-01T10:00:00Z' });
    for (const text of ['2026-02-30', '2026-12-01T10:00:00', '2026-12-01T10:00:00+01:00', 'tomorrow', '']) {
      assert.equal(parseExpiry(text), undefined, text);
    }
  });
});
