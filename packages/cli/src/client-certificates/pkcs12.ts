/**
 * A key and its certificate as one PKCS#12 file (RFC 7292) that browsers and phones import. Both are encrypted with AES-256-CBC
 * under PBKDF2 with HMAC-SHA-256, and the whole carries an HMAC-SHA-256. node-forge writes the structure; its own
 * `toPkcs12Asn1` knows RSA and SHA-1 alone, so keys, ciphers and digests are node:crypto's.
 */
import { createCipheriv, createHmac, hash, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import forge from 'node-forge';

export interface Pkcs12Content {
  /** PKCS#8, DER. */
  readonly key: Uint8Array;
  /** DER. */
  readonly certificate: Uint8Array;
  /** What lists of certificates show. */
  readonly name: string;
}

/** For each of the three; a guess at the password costs at least one of them. */
const ITERATIONS = 100_000;
/** Keychains of macOS refuse longer ones. */
const SALT_BYTES = 8;
const KEY_BYTES = 32;
const IV_BYTES = 16;
/** RFC 7292 appendix B.3: the purpose of a derived key. */
const MAC_PURPOSE = 3;
const SHA256_BLOCK_BYTES = 64;

const { asn1, pki } = forge;
const { Type } = asn1;
type Node = forge.asn1.Asn1;

const OID = {
  hmacWithSHA256: '1.2.840.113549.2.9',
  sha256: '2.16.840.1.101.3.4.2.1',
} as const;

/**
 * DER of a PFX.
 * @param password UTF-8 for the ciphers, UTF-16 for the HMAC, as RFC 7292 appendix B.1 and OpenSSL have it
 */
export async function writePkcs12({ key, certificate, name }: Pkcs12Content, password: string): Promise<Buffer> {
  // Ties the two together for who imports them; no secret, and no proof of anything.
  const keyId = hash('sha1', certificate, 'buffer');
  const attributes = of(Type.SET, [
    attribute('localKeyId', octets(keyId)),
    attribute('friendlyName', leaf(Type.BMPSTRING, name)),
  ]);
  const shrouded = bag('pkcs8ShroudedKeyBag', sequence(await encrypt(key, password, octets)), attributes);
  const x509 = sequence([named('x509Certificate'), explicit(octets(certificate))]);
  const certificates = der(sequence([bag('certBag', x509, attributes)]));
  const encrypted = await encrypt(certificates, password, implicit);
  const safe = der(
    sequence([
      sequence([named('encryptedData'), explicit(sequence([integer(0), sequence([named('data'), ...encrypted])]))]),
      data(der(sequence([shrouded]))),
    ]),
  );
  return der(sequence([integer(3), data(safe), macOf(safe, password)]));
}

/** PBES2 (RFC 8018 §6.2): its parameters, and what it made of `plain` in the form that the place wants. */
async function encrypt(plain: Uint8Array, password: string, form: (bytes: Uint8Array) => Node): Promise<Node[]> {
  const salt = randomBytes(SALT_BYTES);
  const iv = randomBytes(IV_BYTES);
  const key = await promisify(pbkdf2)(password, salt, ITERATIONS, KEY_BYTES, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  const derivation = sequence([octets(salt), integer(ITERATIONS), sequence([oid(OID.hmacWithSHA256), nothing()])]);
  const parameters = sequence([
    sequence([named('pkcs5PBKDF2'), derivation]),
    sequence([named('aes256-CBC'), octets(iv)]),
  ]);
  return [sequence([named('pkcs5PBES2'), parameters]), form(encrypted)];
}

function macOf(safe: Uint8Array, password: string): Node {
  const salt = randomBytes(SALT_BYTES);
  const digest = createHmac('sha256', macKey(password, salt)).update(safe).digest();
  return sequence([
    sequence([sequence([oid(OID.sha256), nothing()]), octets(digest)]),
    octets(salt),
    integer(ITERATIONS),
  ]);
}

/** RFC 7292 appendix B.2, which is one round where the key is as long as the digest. */
function macKey(password: string, salt: Uint8Array): Buffer {
  const utf16 = Buffer.from(`${password}\0`, 'utf16le').swap16();
  const parts = [repeated(salt), repeated(utf16)];
  let digest = hash('sha256', Buffer.concat([Buffer.alloc(SHA256_BLOCK_BYTES, MAC_PURPOSE), ...parts]), 'buffer');
  for (let i = 1; i < ITERATIONS; i++) digest = hash('sha256', digest, 'buffer');
  return digest;
}

/** To whole blocks of the digest. */
function repeated(bytes: Uint8Array): Buffer {
  return Buffer.alloc(Math.ceil(bytes.length / SHA256_BLOCK_BYTES) * SHA256_BLOCK_BYTES, bytes);
}

/** node-forge takes octets as characters, one each; of a BMPString it takes the text. */
function leaf(type: forge.asn1.Type, value: string): Node {
  return asn1.create(asn1.Class.UNIVERSAL, type, false, value);
}

function of(type: forge.asn1.Type, parts: Node[]): Node {
  return asn1.create(asn1.Class.UNIVERSAL, type, true, parts);
}

function sequence(parts: Node[]): Node {
  return of(Type.SEQUENCE, parts);
}

function octets(bytes: Uint8Array): Node {
  return leaf(Type.OCTETSTRING, Buffer.from(bytes).toString('latin1'));
}

function integer(value: number): Node {
  return leaf(Type.INTEGER, asn1.integerToDer(value).getBytes());
}

function nothing(): Node {
  return leaf(Type.NULL, '');
}

function oid(dotted: string): Node {
  return leaf(Type.OID, asn1.oidToDer(dotted).getBytes());
}

function named(name: string): Node {
  const dotted = pki.oids[name];
  if (dotted === undefined) throw new TypeError(`no object identifier is known for ${name}`);
  return oid(dotted);
}

/** `[0] EXPLICIT`. */
function explicit(node: Node): Node {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, 0, true, [node]);
}

/** `[0] IMPLICIT OCTET STRING`. */
function implicit(bytes: Uint8Array): Node {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, 0, false, Buffer.from(bytes).toString('latin1'));
}

/** A ContentInfo that is not encrypted as a whole. */
function data(content: Uint8Array): Node {
  return sequence([named('data'), explicit(octets(content))]);
}

function bag(kind: string, value: Node, attributes: Node): Node {
  return sequence([named(kind), explicit(value), attributes]);
}

function attribute(name: string, value: Node): Node {
  return sequence([named(name), of(Type.SET, [value])]);
}

function der(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1');
}
