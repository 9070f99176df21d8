/**
 * {@link CertificateStore} on the gateway's database, with every private key under AES-256-GCM: whoever copies the
 * database alone gets no key. The sealing key is a file of its own, 0600 in the state directory.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { CertificateChange, CertificateState, CertificateStore } from '@moat/acme';
import { fromBase64url, isMoatError, toBase64url, type Logger } from '@moat/core';
import { readPrivateFile, writePrivateFile } from '@moat/identity';
import { refusal } from '../errors.ts';
import type { AuditEvent } from '../audit/chain.ts';
import type { GatewayStore } from '../store/store.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Reads the sealing key at `path`, or makes it. @throws the codes of identity's private files, `CERTIFICATE_INVALID` */
export async function loadOrCreateSealingKey(path: string): Promise<Uint8Array> {
  try {
    const key = fromBase64url((await readPrivateFile(path)).trim());
    if (key.length !== KEY_BYTES) throw refusal('CERTIFICATE_INVALID', `${path} holds no sealing key`);
    return key;
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
  }
  const key = randomBytes(KEY_BYTES);
  await writePrivateFile(path, `${toBase64url(key)}\n`, { replace: false });
  return key;
}

export interface SealedStoreDeps {
  readonly logger: Logger;
  readonly store: Pick<GatewayStore, 'certificates' | 'commit'>;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** The certificates' store; what is obtained and what fails is in the audit log too. */
export function createSealedStore({ logger, store, key }: SealedStoreDeps): CertificateStore {
  return {
    load: async () => openState(store.certificates(), key, logger),
    commit: async (change) => store.commit({ certificates: sealChange(change, key), audit: auditOf(change) }),
  };
}

/** What a key is of: it opens nowhere else. */
interface Place {
  readonly kind: 'account' | 'order' | 'certificate';
  readonly id: string;
}

function sealChange(change: CertificateChange, key: Uint8Array): CertificateChange {
  const { account, order, certificate } = change;
  return {
    ...change,
    ...(account && {
      account: { ...account, key: seal(account.key, key, { kind: 'account', id: account.directory }) },
    }),
    ...(order && { order: { ...order, key: seal(order.key, key, { kind: 'order', id: order.id }) } }),
    ...(certificate && {
      certificate: { ...certificate, key: seal(certificate.key, key, { kind: 'certificate', id: certificate.id }) },
    }),
  };
}

/** What cannot be opened is left out, loudly: the gateway then obtains it anew. */
function openState(state: CertificateState, key: Uint8Array, logger: Logger): CertificateState {
  const opened = <T extends { readonly key: string }>(records: readonly T[], placeOf: (record: T) => Place): T[] =>
    records.flatMap((record) => {
      try {
        return [{ ...record, key: open(record.key, key, placeOf(record)) }];
      } catch {
        const { kind, id } = placeOf(record);
        logger.error(
          { component: 'gateway.certificates', kind, name: id },
          'kept key cannot be opened; it is left out',
        );
        return [];
      }
    });
  return {
    ...state,
    accounts: opened(state.accounts, ({ directory }) => ({ kind: 'account', id: directory })),
    orders: opened(state.orders, ({ id }) => ({ kind: 'order', id })),
    certificates: opened(state.certificates, ({ id }) => ({ kind: 'certificate', id })),
  };
}

function auditOf({ certificate, failure, endedOrder }: CertificateChange): AuditEvent[] {
  const events: AuditEvent[] = [];
  // One that is only known better than before ends no order.
  if (certificate && endedOrder) {
    const details = { authority: certificate.directory, until: new Date(certificate.notAfterMs).toISOString() };
    events.push({ action: 'certificate.issued', actor: 'gateway', subject: certificate.id, details });
  }
  if (failure) {
    const { id, code, count, directory } = failure;
    events.push({
      action: 'certificate.failed',
      actor: 'gateway',
      subject: id,
      details: { authority: directory, code, count },
    });
  }
  return events;
}

function associated({ kind, id }: Place): Buffer {
  return Buffer.from(JSON.stringify(['moat/certificate-key/1', kind, id]));
}

function seal(text: string, key: Uint8Array, place: Place): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(associated(place));
  return toBase64url(Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]));
}

function open(sealed: string, key: Uint8Array, place: Place): string {
  const bytes = fromBase64url(sealed);
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(associated(place));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  const text = [decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()];
  return Buffer.concat(text).toString('utf8');
}
