import type { Command } from 'commander';
import type { VerbRunner } from '../verb.ts';
export function addDev(_: Command, __: VerbRunner): void {}
