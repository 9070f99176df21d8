/** `moat certs client NAME`: a client certificate for `auth: { mtls: { ca } }`, as a file that browsers and phones import. */
import { existsSync } from 'node:fs';
import { MoatError, isMoatError } from '@moat/core';
import { writePrivateFile } from '@moat/identity';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { resolvePath } from '../input/files.ts';
import { PASSWORD_OPTION, readPassword } from '../input/password.ts';
import { renderTable } from '../output/table.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface ClientOptions {
  readonly ca?: string;
  readonly days: string;
  readonly out?: string;
  readonly passwordFile?: string;
}

/** RFC 5280 appendix A: the longest common name. */
const MAX_NAME_CHARS = 64;
const MAX_DAYS = 3_650;

export function addCertsClient(certs: Command, runner: VerbRunner): void {
  addVerb<ClientOptions>(
    certs,
    runner,
    {
      usage: 'client <name>',
      summary: 'a certificate that lets somebody in where auth: { mtls: { ca } } asks, as a file to import',
      examples: [
        ['moat certs client ana', 'asks for a password and writes ana.p12; makes the authority if there is none'],
        ['moat certs client ana-phone --days 30 --out phone.p12', 'good for a month'],
        ['moat certs client backup --password-file - < secret', 'the password from stdin'],
        ['moat certs client ana --ca ./staff-ca.pem', 'of another authority, whose key is ./staff-ca.key'],
      ],
      options: [
        {
          flags: '--ca <file>',
          text: 'certificate of the authority, made if it is not there; client-ca.pem in the state',
        },
        { flags: '--days <n>', text: 'how long it is good', preset: '365' },
        { flags: '--out <file>', text: 'where it is written; otherwise NAME.p12' },
        PASSWORD_OPTION,
      ],
    },
    (context, [name = ''], options) => issue(context, name, options),
  );
}

async function issue(context: Context, name: string, options: ClientOptions): Promise<Outcome> {
  const { io, paths, progress, style } = context;
  const days = daysOf(options.days);
  requireName(name);
  const out = options.out ?? `${name.replaceAll(/[^\p{L}\p{N}@._-]|^[.-]/gu, '_')}.p12`;
  const path = resolvePath(io, out);
  // Before a password is asked for; that nothing is replaced is for the writing to see to.
  if (existsSync(path)) throw taken(out);
  const password = await readPassword(context, `Password that will open ${out}`, {
    file: options.passwordFile,
    again: true,
  });
  // A fifth of a second that no other verb pays.
  const [{ openClientAuthority }, { issueClientCertificate }, { writePkcs12 }] = await Promise.all([
    import('../client-certificates/authority.ts'),
    import('../client-certificates/issue.ts'),
    import('../client-certificates/pkcs12.ts'),
  ]);
  const file = options.ca === undefined ? paths.clientAuthority : resolvePath(io, options.ca);
  const authority = await openClientAuthority(io, file);
  if (authority.isNew) {
    progress.say(`${style.attention} made an authority for client certificates: ${file}`);
    progress.say(`  its key stays on this machine: ${authority.keyFile}; whoever can read it can let anybody in`);
  }
  const issued = await issueClientCertificate(authority, { name, days, nowMs: io.now() });
  await writeBundle(path, out, await writePkcs12({ ...issued, name }, password));
  const until = new Date(issued.untilMs).toISOString();
  const next = [
    [
      style.dim('Next'),
      `auth: { mtls: { ca: ${JSON.stringify(file)} } }`,
      'under the name in moat.yaml, then moat apply',
    ],
    ['', `give ${out} and its password to ${name}`, 'on two different ways'],
  ];
  return {
    kind: 'client-certificate',
    data: {
      name,
      file: path,
      until,
      fingerprint: issued.fingerprint,
      authority: { file, keyFile: authority.keyFile, made: authority.isNew },
    },
    text: `${style.ok} ${style.bold(out)}  ${name}, until ${until}\n${renderTable(next, { indent: 2 })}`,
  };
}

async function writeBundle(path: string, named: string, content: Uint8Array): Promise<void> {
  try {
    await writePrivateFile(path, content, { replace: false });
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_EXISTS')) throw error;
    throw taken(named);
  }
}

function taken(named: string): MoatError<'FILE_EXISTS'> {
  return new MoatError('FILE_EXISTS', `${named} is there already`, {
    next: ['choose another path with --out FILE, or move the file away'],
  });
}

function requireName(name: string): void {
  if (new RegExp(`^[^\\s\\p{C}](?:[^\\p{C}]{0,${MAX_NAME_CHARS - 2}}[^\\s\\p{C}])?$`, 'u').test(name)) return;
  throw new MoatError('USAGE', `a name has 1 to ${MAX_NAME_CHARS} characters`, {
    reason: 'it is what the service is told of who comes in',
    next: ['moat certs client ana'],
  });
}

function daysOf(text: string): number {
  const days = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (days >= 1 && days <= MAX_DAYS) return days;
  throw new MoatError('USAGE', `--days is a number from 1 to ${MAX_DAYS}`, { next: ['--days 365'] });
}
