/** What the operator should hear of certificates without asking for them. */
import type { GatewayCertificate, GatewayStatus } from '@moat/admin-api';

/** A certificate whose renewal fails is worth a word this long before it ends; most are renewed weeks before. */
const SOON_MS = 7 * 24 * 3_600_000;
/** Names that one line tells. */
const MAX_NAMES = 3;

/** One warning a kind, for `moat gateway status`. */
export function certificateWarnings(
  certificates: readonly GatewayCertificate[],
  nowMs: number,
): GatewayStatus['warnings'] {
  const failing = certificates.filter(({ failure }) => failure !== null);
  const endsSoon = ({ notAfter }: GatewayCertificate): boolean => Date.parse(notAfter ?? '') - nowMs < SOON_MS;
  return [
    ...warning(
      'CERTIFICATE_OVER',
      'over',
      certificates.filter(({ state }) => state === 'expired'),
    ),
    ...warning(
      'CERTIFICATE_MISSING',
      'not there yet',
      failing.filter(({ state }) => state === 'waiting'),
    ),
    ...warning(
      'CERTIFICATE_ENDING',
      'soon over',
      failing.filter((each) => each.state === 'valid' && endsSoon(each)),
    ),
  ];
}

function warning(code: string, what: string, certificates: readonly GatewayCertificate[]): GatewayStatus['warnings'] {
  const [first] = certificates;
  const name = first?.names.at(-1);
  if (name === undefined) return [];
  const names = certificates.slice(0, MAX_NAMES).map((each) => each.names.at(-1) ?? '');
  const more = certificates.length > MAX_NAMES ? ` and ${certificates.length - MAX_NAMES} more` : '';
  return [{ code, message: `certificates ${what}: ${names.join(', ')}${more}; moat certs show ${name}` }];
}
