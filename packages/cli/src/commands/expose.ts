/** `moat node expose` and `unexpose`: the operator's consent, without which no contract reaches a port. */
import type { Command } from 'commander';
import { selectDeployment } from '../deployment/select.ts';
import { addVerb, type VerbOption, type VerbRunner } from '../verb.ts';
import { parseExpose } from './join.ts';

interface ExposeOptions {
  readonly to?: string;
  readonly public?: boolean;
}

const TO_OPTION: VerbOption = { flags: '--to <network>', text: 'for this network; the only one by default' };

export function addExpose(node: Command, runner: VerbRunner): void {
  addVerb<ExposeOptions>(
    node,
    runner,
    {
      usage: 'expose [target]',
      summary: 'lets a network reach a port of this machine; without a target: lists what is exposed',
      examples: [
        ['moat node expose 5432 --to shop', 'members with a grant reach 127.0.0.1:5432'],
        ['moat node expose 3000 --to shop --public', 'also gateways it is published at'],
        ['moat node expose', 'what is exposed'],
      ],
      options: [TO_OPTION, { flags: '--public', text: 'streams from gateways too' }],
    },
    async ({ agent, style }, [target], options) => {
      if (target === undefined) {
        const exposed = await agent.exposed();
        const lines = exposed.map((one) => `${one.target} → ${one.deployment}${one.public ? '  public' : ''}`);
        return { kind: 'exposed-list', data: { exposed }, text: lines.join('\n') || 'Nothing is exposed.' };
      }
      const parsed = parseExpose(target);
      const deployment = await selectDeployment(agent, options.to);
      const open = options.public === true || parsed.public === true;
      const exposed = await agent.expose({ deployment, target: parsed.target, public: open });
      return {
        kind: 'exposed',
        data: exposed,
        text: `${style.ok} ${exposed.target} is exposed${open ? ', also to gateways it is published at' : ''}`,
      };
    },
  );
  addVerb<ExposeOptions>(
    node,
    runner,
    {
      usage: 'unexpose <target>',
      summary: 'takes the consent back; running streams end',
      examples: [['moat node unexpose 5432 --to shop', 'nobody reaches it from now on']],
      options: [TO_OPTION],
    },
    async ({ agent, style }, [target = ''], options) => {
      const parsed = parseExpose(target);
      const deployment = await selectDeployment(agent, options.to);
      await agent.unexpose({ deployment, target: parsed.target });
      return {
        kind: 'unexposed',
        data: { deployment, target: parsed.target },
        text: `${style.ok} ${target} is closed`,
      };
    },
  );
}
