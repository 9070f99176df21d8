/** `moat gateway reload`: a changed gateway.yaml takes effect without a restart. */
import type { Command } from 'commander';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addReload(gateway: Command, runner: VerbRunner): void {
  addVerb<object>(
    gateway,
    runner,
    {
      usage: 'reload',
      summary: 'reads gateway.yaml anew; one that cannot be used changes nothing',
      examples: [['moat gateway reload', 'as SIGHUP does, but says what came of it']],
    },
    async ({ gateway: client, style }) => {
      const reloaded = await client.reload();
      const { changed, needsRestart } = reloaded;
      const lines = [
        changed.length === 0 ? `${style.ok} nothing changed` : `${style.ok} in force: ${changed.join(', ')}`,
        ...(needsRestart.length === 0 ? [] : [`${style.attention} needs a restart: ${needsRestart.join(', ')}`]),
      ];
      return { kind: 'gateway-reload', data: reloaded, text: lines.join('\n') };
    },
  );
}
