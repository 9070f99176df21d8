/** Every verb, in the order of `moat help`. */
import type { Command } from 'commander';
import type { VerbRunner } from '../verb.ts';
import { addExplain } from './explain.ts';
import { addForward } from './forward.ts';
import { addJoin } from './join.ts';
import { addKey } from './key.ts';
import { addNames } from './names.ts';
import { addPing } from './ping.ts';
import { addRun } from './run.ts';
import { addStatus } from './status.ts';

export function addVerbs(program: Command, runner: VerbRunner): void {
  for (const add of [addKey, addJoin, addStatus, addExplain, addPing, addForward, addRun, addNames])
    add(program, runner);
}
