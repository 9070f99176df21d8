/** `moat gateway backup` and `restore`: all that a gateway is, in one file. */
import type { Command } from 'commander';
import { PASSPHRASE_OPTION } from '../owner/passphrase.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface Options {
  readonly config: string;
  readonly passphraseFile?: string;
  readonly plain?: boolean;
  readonly replace?: boolean;
}

const CONFIG_OPTION = {
  flags: '--config <file>',
  text: 'gateway.yaml',
  preset: 'gateway.yaml',
  env: 'MOAT_GATEWAY_CONFIG',
};

export function addBackup(gateway: Command, runner: VerbRunner): void {
  addVerb<Options>(
    gateway,
    runner,
    {
      usage: 'backup <file>',
      summary: 'names, pins, certificates, audit log and keys into one file, while the gateway runs',
      examples: [
        ['moat gateway backup gateway.backup --passphrase-file secret', 'sealed'],
        ['moat gateway backup gateway.backup --plain', 'whoever has the file can be your gateway'],
      ],
      options: [PASSPHRASE_OPTION, { flags: '--plain', text: 'without a passphrase; the file is 0600' }, CONFIG_OPTION],
    },
    async (context, [file = ''], options) => {
      const { backUpGateway } = await import('../process/backup-gateway.ts');
      const { progress, style } = context;
      const made = await progress.during('backing up', backUpGateway(context, file, options));
      const how = made.sealed ? 'sealed with the passphrase' : 'in the clear: keep it as you keep keys';
      const text = [`${style.ok} ${file}: ${made.bytes} bytes, ${how}`, `  ${made.files.join(' ')}`].join('\n');
      return { kind: 'gateway-backup', data: { file, ...made }, text };
    },
  );
  addVerb<Options>(
    gateway,
    runner,
    {
      usage: 'restore <file>',
      summary: 'puts a backup in the place of the state; the gateway must not run',
      examples: [['moat gateway restore gateway.backup --config gateway.yaml', 'on a new machine']],
      options: [
        PASSPHRASE_OPTION,
        { flags: '--replace', text: 'put what is there aside, under another name' },
        CONFIG_OPTION,
      ],
    },
    async (context, [file = ''], options) => {
      const { restoreGateway } = await import('../process/backup-gateway.ts');
      const { progress, style } = context;
      const restored = await progress.during('restoring', restoreGateway(context, file, options));
      const { domain, created, names, auditLines, aside } = restored;
      const text = [
        `${style.ok} ${domain} as of ${created}: ${names} ${names === 1 ? 'name' : 'names'}, ${auditLines} audit lines`,
        ...(aside === null ? [] : [`  the former state lies in ${aside}`]),
        `  ${style.dim('Next')}  moat gateway run --config ${options.config}`,
      ].join('\n');
      return { kind: 'gateway-restore', data: restored, text };
    },
  );
}
