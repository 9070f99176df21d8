/** Every verb, in the order of `moat help`. */
import type { Command } from 'commander';
import type { VerbRunner } from '../verb.ts';

type AddVerb = (program: Command, runner: VerbRunner) => void;

/** By the word behind `moat`; each is loaded when it is added. */
const VERBS: Readonly<Record<string, () => Promise<AddVerb>>> = {
  dev: async () => (await import('./dev.ts')).addDev,
  init: async () => (await import('./init.ts')).addInit,
  key: async () => (await import('./key.ts')).addKey,
  validate: async () => (await import('./validate.ts')).addValidate,
  fmt: async () => (await import('./fmt.ts')).addFmt,
  plan: async () => (await import('./plan.ts')).addPlan,
  apply: async () => (await import('./apply.ts')).addApply,
  proposals: async () => (await import('./proposals.ts')).addProposals,
  sign: async () => (await import('./sign.ts')).addSign,
  rollback: async () => (await import('./rollback.ts')).addRollback,
  destroy: async () => (await import('./destroy.ts')).addDestroy,
  node: async () => (await import('./node.ts')).addNode,
  invite: async () => (await import('./invite.ts')).addInvite,
  join: async () => (await import('./join.ts')).addJoin,
  status: async () => (await import('./status.ts')).addStatus,
  explain: async () => (await import('./explain.ts')).addExplain,
  ping: async () => (await import('./ping.ts')).addPing,
  netcheck: async () => (await import('./netcheck.ts')).addNetcheck,
  forward: async () => (await import('./forward.ts')).addForward,
  run: async () => (await import('./run.ts')).addRun,
  wireguard: async () => (await import('./wireguard.ts')).addWireguard,
  explore: async () => (await import('./explore.ts')).addExplore,
  publish: async () => (await import('./publish.ts')).addPublish,
  names: async () => (await import('./names.ts')).addNames,
  password: async () => (await import('./password.ts')).addPassword,
  'sign-in': async () => (await import('./sign-in.ts')).addSignIn,
  gateway: async () => (await import('./gateway.ts')).addGateway,
  certs: async () => (await import('./certs.ts')).addCerts,
  trust: async () => (await import('./trust.ts')).addTrust,
  audit: async () => (await import('./audit.ts')).addAudit,
  service: async () => (await import('./service.ts')).addService,
  completion: async () => (await import('./completion.ts')).addCompletion,
  doctor: async () => (await import('./doctor.ts')).addDoctor,
};

/** Verbs that another one brings along. */
const BROUGHT: Readonly<Record<string, string>> = { unpublish: 'publish' };
/** The verb that tells of all others. */
const OF_ALL = 'completion';

/**
 * Adds every verb to the program; only what a first word of the command line leads to where it is a verb, so that a
 * command need not load, for a tenth of a second, what it does not use.
 */
export async function addVerbs(program: Command, runner: VerbRunner, first = ''): Promise<void> {
  const name = Object.hasOwn(BROUGHT, first) ? BROUGHT[first] : first;
  const one = name === undefined || name === OF_ALL || !Object.hasOwn(VERBS, name) ? undefined : VERBS[name];
  const loading = one === undefined ? Object.values(VERBS) : [one];
  for (const add of await Promise.all(loading.map((load) => load()))) add(program, runner);
}
