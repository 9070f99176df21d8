/** `moat gateway rotate-key`: a new key for a gateway, which publishers follow by themselves. */
import type { Command } from 'commander';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addRotateKey(gateway: Command, runner: VerbRunner): void {
  addVerb<{ readonly finish?: boolean }>(
    gateway,
    runner,
    {
      usage: 'rotate-key',
      summary: 'replaces the gateway’s key; publishers follow it when they apply next',
      examples: [
        ['moat gateway rotate-key', 'makes the next key; the old one goes on answering'],
        ['moat gateway rotate-key --finish', 'the next one takes over, with a restart'],
      ],
      options: [{ flags: '--finish', text: 'once publishers applied: who did not is unreachable until they do' }],
    },
    async ({ gateway: client, style }, _, { finish = false }) => {
      const rotation = await client.rotateKey({ finish });
      const text = finish
        ? [`${style.ok} ${rotation.peerId} answers from now on; the gateway starts again`]
        : [
            `${style.ok} ${rotation.next ?? ''} is the next key; ${rotation.peerId} answers until you finish`,
            `  ${style.dim('Next')}  publishers run moat apply, which pins both`,
            '        moat gateway rotate-key --finish',
          ];
      return { kind: 'gateway-key-rotation', data: rotation, text: text.join('\n') };
    },
  );
}
