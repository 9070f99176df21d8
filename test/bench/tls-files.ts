/** A certificate of the kind every edge here has: ECDSA P-256, self-signed. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BenchContext } from './context.ts';
import { runTool } from './programs.ts';

export interface TlsFiles extends AsyncDisposable {
  readonly hostname: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  /** PEM of the certificate, its own CA. */
  readonly ca: string;
}

/** Makes it, for `bench.localhost` and names below; {@link BenchContext.shared} keeps it to one a group. */
export async function createTlsFiles(context: BenchContext): Promise<TlsFiles> {
  const dir = await context.newDir('tls');
  const [certificateFile, keyFile] = [join(dir, 'bench.crt'), join(dir, 'bench.key')];
  const hostname = 'bench.localhost';
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
  const names = ['-subj', `/CN=${hostname}`, '-addext', `subjectAltName=DNS:${hostname},DNS:*.${hostname}`];
  await runTool('openssl', ['req', '-x509', ...key, '-days', '2', ...names, '-out', certificateFile]);
  return {
    hostname,
    certificateFile,
    keyFile,
    ca: await readFile(certificateFile, 'utf8'),
    async [Symbol.asyncDispose]() {
      // Its folder goes with the context.
    },
  };
}
