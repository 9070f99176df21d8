/** Every verb, in the order of `moat help`. */
import type { Command } from 'commander';
import type { VerbRunner } from '../verb.ts';
import { addApply } from './apply.ts';
import { addAudit } from './audit.ts';
import { addCerts } from './certs.ts';
import { addCompletion } from './completion.ts';
import { addDestroy } from './destroy.ts';
import { addDev } from './dev.ts';
import { addDoctor } from './doctor.ts';
import { addExplain } from './explain.ts';
import { addExplore } from './explore.ts';
import { addFmt } from './fmt.ts';
import { addForward } from './forward.ts';
import { addGateway } from './gateway.ts';
import { addInit } from './init.ts';
import { addInvite } from './invite.ts';
import { addJoin } from './join.ts';
import { addKey } from './key.ts';
import { addNames } from './names.ts';
import { addNetcheck } from './netcheck.ts';
import { addNode } from './node.ts';
import { addPassword } from './password.ts';
import { addPing } from './ping.ts';
import { addPlan } from './plan.ts';
import { addProposals } from './proposals.ts';
import { addPublish } from './publish.ts';
import { addRollback } from './rollback.ts';
import { addRun } from './run.ts';
import { addService } from './service.ts';
import { addSign } from './sign.ts';
import { addSignIn } from './sign-in.ts';
import { addStatus } from './status.ts';
import { addTrust } from './trust.ts';
import { addValidate } from './validate.ts';
import { addWireguard } from './wireguard.ts';

/** Adds every verb to the program. */
export function addVerbs(program: Command, runner: VerbRunner): void {
  const all = [
    addDev,
    addInit,
    addKey,
    addValidate,
    addFmt,
    addPlan,
    addApply,
    addProposals,
    addSign,
    addRollback,
    addDestroy,
    addNode,
    addInvite,
    addJoin,
    addStatus,
    addExplain,
    addPing,
    addNetcheck,
    addForward,
    addRun,
    addWireguard,
    addExplore,
    addPublish,
    addNames,
    addPassword,
    addSignIn,
    addGateway,
    addCerts,
    addTrust,
    addAudit,
    addService,
    addCompletion,
    addDoctor,
  ];
  for (const add of all) add(program, runner);
}
