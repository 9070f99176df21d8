/** One request the way the load will ask, but verified: certificate, status, length. */
import { runTool } from './programs.ts';
import type { Target } from './subject.ts';

/** Runs beside the client, whose namespace this process is not in. */
const SCRIPT = `const { scheme, address, port, hostname, path, ca } = JSON.parse(process.argv[1]);
const request = require('node:' + scheme).get(
  { host: address, port, servername: hostname, path, ca, agent: false, timeout: 10000, headers: { host: hostname + ':' + port } },
  (response) => {
    let bytes = 0;
    const protocol = response.socket.getProtocol?.();
    response.on('data', (chunk) => { bytes += chunk.length; });
    response.on('end', () => process.stdout.write(JSON.stringify({ status: response.statusCode, bytes, protocol })));
  });
request.on('timeout', () => request.destroy(new Error('timeout')));
request.on('error', (error) => { process.stderr.write(error.message); process.exit(1); });`;

export interface Probed {
  readonly status: number;
  readonly bytes: number;
  /** Version of TLS, such as `TLSv1.3`; only of https. */
  readonly protocol?: string;
}

/** Asks once. Fails when nobody answers or the certificate is not the target's. */
export async function probe(target: Target, scheme: 'https' | 'http', path: string): Promise<Probed> {
  const { address, port, hostname, ca, namespace } = target;
  const question = JSON.stringify({ scheme, address, port, hostname, path, ca });
  return JSON.parse(await runTool(process.execPath, ['-e', SCRIPT, '--', question], { namespace })) as Probed;
}
