/** How a publication's state reads. */
import type { DeploymentDetail, Exposed, PublicationCertificate, PublicationStatus } from '@moat/admin-api';
import type { Style } from './style.ts';

/** A publication, and whether this machine lets gateways reach what is behind it. */
export interface ShownPublication extends PublicationStatus {
  /** Null when this machine does not offer the service. */
  readonly exposedHere: boolean | null;
  /** What to type where it is not exposed. */
  readonly remedy: string | null;
}

/** Puts the operator's consent beside each publication: a name may be live and lead to a closed port. */
export function withConsent(detail: DeploymentDetail, exposed: readonly Exposed[]): ShownPublication[] {
  return detail.publications.map((publication) => {
    const service = detail.services.find(({ name }) => name === publication.service);
    if (service === undefined || service.exposed === null) {
      return { ...publication, exposedHere: null, remedy: remedyElsewhere(detail, service?.target) };
    }
    const exposedHere = exposed.some(
      (one) => one.deployment === detail.id && one.target === service.target && one.public,
    );
    const remedy = exposedHere ? null : `moat node expose ${service.target} --to ${detail.name} --public`;
    return { ...publication, exposedHere, remedy };
  });
}

/** Members say in their receipts that their operators did not consent; the line is to be typed there. */
function remedyElsewhere(detail: DeploymentDetail, target: string | undefined): string | null {
  const closed = detail.memberReceipts
    .filter(({ code, version }) => code === 'NOT_PUBLIC' && version === detail.version)
    .map(({ member }) => member);
  if (closed.length === 0 || target === undefined) return null;
  return `on ${closed.join(', ')}: moat node expose ${target} --to ${detail.name} --public`;
}

/** A gateway with several keys, while one replaces the other, is one line where both say the same. */
export function distinctRows(rows: readonly (readonly string[])[]): string[][] {
  return [...new Map(rows.map((row) => [row.join('\n'), [...row]])).values()];
}

export function publicationMark({ state, exposedHere, remedy, certificate }: ShownPublication, style: Style): string {
  const isBare = certificate !== undefined && certificate.state !== 'valid';
  if (state === 'live') return exposedHere === false || isBare ? style.attention : style.ok;
  if (state === 'refused') return style.fail;
  return state === 'waiting' && remedy === null ? style.dim('·') : style.attention;
}

export function publicationState({ state }: PublicationStatus): string {
  return state === 'waiting' ? 'by other members' : state;
}

/** Why it does not work from here; when it does, how long its certificate lasts. */
export function publicationReason({ error, remedy, certificate }: ShownPublication, style: Style): string {
  if (error !== null) return `${error.message}  ${style.dim(error.code)}`;
  if (remedy !== null) return `not exposed to gateways: ${remedy}`;
  return certificate === undefined ? '' : certificateLine(certificate, style);
}

/** What the gateway says of a name's certificate, in one line. */
export function certificateLine({ state, notAfter, next, problem }: PublicationCertificate, style: Style): string {
  const why = problem === null ? '' : `: ${problem.message}  ${style.dim(problem.code)}`;
  if (state === 'valid') {
    const end = notAfter === null ? '' : ` until ${notAfter.slice(0, 10)}`;
    return problem === null ? style.dim(`certificate${end}`) : `certificate${end}, not renewed${why}`;
  }
  const again = next === null ? '' : `, next try ${next}`;
  return `${state === 'expired' ? 'its certificate is over' : 'no certificate yet'}${why}${again}`;
}
