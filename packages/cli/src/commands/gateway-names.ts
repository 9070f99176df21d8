/** `moat gateway names allow`, `transfer`, `release`: what an operator does with single names. */
import type { ChangeNameRequest } from '@moat/admin-api';
import { MoatError, isDeploymentId } from '@moat/core';
import type { Command } from 'commander';
import { addVerb, type VerbRunner } from '../verb.ts';

interface ToOptions {
  readonly to?: string;
}

const TO_OPTION = { flags: '--to <deployment>', text: 'the id of the deployment' };

/** @param names `moat gateway names` */
export function addGatewayNameVerbs(names: Command, runner: VerbRunner): void {
  addGiving(names, runner, 'allow', 'lets a deployment claim a name that is reserved, or looks like another', [
    ['moat gateway names allow admin --to q7f3…', 'the line that a refusal shows its publisher'],
  ]);
  addGiving(names, runner, 'transfer', 'gives a held name to another deployment, at once', [
    ['moat gateway names transfer shop --to q7f3…', 'whoever held it gets NAME_HELD from then on'],
  ]);
  addVerb<object>(
    names,
    runner,
    {
      usage: 'release <name>',
      summary: 'sets a name free that is held though nothing is published under it',
      examples: [['moat gateway names release shop', 'before its 30 days are over']],
    },
    async ({ gateway, style }, [name = '']) => {
      const changed = await gateway.changeName({ name, action: 'release' });
      return { kind: 'gateway-name-released', data: changed, text: `${style.ok} ${changed.host} is free` };
    },
  );
}

function addGiving(
  names: Command,
  runner: VerbRunner,
  action: Exclude<ChangeNameRequest['action'], 'release'>,
  summary: string,
  examples: readonly (readonly [string, string])[],
): void {
  addVerb<ToOptions>(
    names,
    runner,
    { usage: `${action} <name>`, summary, examples, options: [TO_OPTION] },
    async ({ gateway, style }, [name = ''], { to: deployment }) => {
      if (deployment === undefined || !isDeploymentId(deployment)) {
        throw new MoatError('USAGE', '--to takes the id of a deployment', {
          reason: 'an id has 26 characters of a–z and 2–7; a name can be anybody’s',
          next: ['moat status -d   shows the id, where the network runs'],
        });
      }
      const changed = await gateway.changeName({ name, action, deployment });
      const done = action === 'allow' ? `may be claimed by ${deployment}` : `is held by ${deployment}`;
      return { kind: `gateway-name-${action}`, data: changed, text: `${style.ok} ${changed.host} ${done}` };
    },
  );
}
