/**
 * Which exit code an error ends with. Only 1 and 7 merit a restart by a supervisor:
 * `RestartPreventExitStatus=2 3 4 5 6 69`.
 */

export const EXIT = {
  done: 0,
  /** Failed; a retry may work. */
  failed: 1,
  usage: 2,
  /** A file or configuration is invalid. */
  invalid: 3,
  refused: 4,
  notFound: 5,
  conflict: 6,
  timedOut: 7,
  agentNotRunning: 8,
  /** A check found something. */
  checkFound: 9,
  nodeTooOld: 69,
  interrupted: 130,
  terminated: 143,
} as const;

const CODES: Readonly<Record<number, readonly string[]>> = {
  [EXIT.usage]: [
    'USAGE',
    'PASSPHRASE_EMPTY',
    'NOT_SUPPORTED_YET',
    'TARGET_INVALID',
    'DURATION_INVALID',
    'CONFIRMATION_NEEDED',
    'ID_INVALID',
    'REQUEST_INVALID',
  ],
  [EXIT.invalid]: [
    'FILE_INVALID',
    'FILE_UNREADABLE',
    'CONFIG_INVALID',
    'CONTRACT_INVALID',
    'CONTRACT_TOO_NEW',
    'ADDRESS_INVALID',
    'ADDRESS_EXHAUSTED',
    'NOT_CANONICAL',
    'TOKEN_INVALID',
    'KEY_FILE_INVALID',
    'KEY_FILE_EXPOSED',
    'KEY_FILE_UNREADABLE',
    'GATEWAY_CONFIG_INVALID',
    'CERTIFICATE_INVALID',
    'SERVICE_NOT_HTTP',
    'NO_KEEPER',
    'EXAMPLE_MISSING',
    'GATEWAY_ANSWER_INVALID',
  ],
  [EXIT.refused]: [
    'DECLINED',
    'GRANT_DENIED',
    'GRANT_EXPIRED',
    'MEMBER_EXPIRED',
    'NOT_EXPOSED',
    'NOT_PUBLIC',
    'JOIN_REFUSED',
    'INVITE_EXPIRED',
    'INVITE_USED',
    'OWNER_KEY_FOREIGN',
    'PASSPHRASE_WRONG',
    'KEY_LOCKED',
    'HEAD_FORGED',
    'HEAD_MISMATCH',
    'CLAIM_FORGED',
    'WITNESS_INVALID',
    'GENESIS_MISMATCH',
    'PUBLICATION_FORGED',
    'PUBLICATION_WITHDRAWN',
    'PUBLICATION_ELSEWHERE',
    'PUBLISHER_UNKNOWN',
    'PUBLISHER_REFUSED',
    'QUORUM_MISSING',
    'DEPLOYMENT_ENDED',
  ],
  [EXIT.notFound]: [
    'FILE_MISSING',
    'KEY_FILE_MISSING',
    'DEPLOYMENT_UNKNOWN',
    'MEMBER_UNKNOWN',
    'SERVICE_UNKNOWN',
    'NAME_UNKNOWN',
    'COMMAND_NOT_FOUND',
    'NOT_FOUND',
  ],
  [EXIT.conflict]: [
    'FILE_EXISTS',
    'KEY_FILE_EXISTS',
    'DEPLOYMENT_AMBIGUOUS',
    'APPLIED_IN_BETWEEN',
    'DEV_RUNNING',
    'VERSION_OLD',
    'VERSION_GAP',
    'HEAD_FORKED',
    'MEMBER_TAKEN',
    'NAME_TAKEN',
    'NAME_HELD',
    'INVITE_UNKNOWN',
    'PORT_TAKEN',
  ],
  [EXIT.timedOut]: ['NOT_READY_IN_TIME', 'AGENT_TIMEOUT'],
  [EXIT.agentNotRunning]: ['AGENT_NOT_RUNNING'],
  [EXIT.nodeTooOld]: ['NODE_TOO_OLD'],
};

const BY_CODE: ReadonlyMap<string, number> = new Map(
  Object.entries(CODES).flatMap(([exit, codes]) => codes.map((code) => [code, Number(exit)] as const)),
);

/** The exit code of an error code; 1 for one that is not listed, since a retry may work. */
export function exitCodeOf(code: string): number {
  return BY_CODE.get(code) ?? EXIT.failed;
}
