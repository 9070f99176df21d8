/** A child process that writes as fast as it can and says what was acknowledged; the test kills it at any instant. */
import { join } from 'node:path';
import { createNodeKey } from '@moat/identity';
import { Database } from '../src/store/database.ts';
import { DeploymentStore } from '../src/store/deployment-store.ts';
import { MachineStore } from '../src/store/machine-store.ts';
import { Chain } from './chain.ts';

const [stateDir = '', round = '0'] = process.argv.slice(2);
const database = Database.open(join(stateDir, 'node.db'));
const store = new DeploymentStore(database);
const machine = new MachineStore(database);
const acknowledge = (line: string): void => void process.stdout.write(`${line}\n`);

const chain = new Chain(createNodeKey());
for (let i = 0; i < 100_000; i++) {
  const { proof, contract } = chain.next();
  store.saveVersion(proof, contract, i);
  acknowledge(`version ${contract.deployment} ${contract.version} ${chain.head}`);
  const { claim, invite } = chain.claim();
  store.saveWitnessed(invite, claim);
  acknowledge(`witnessed ${contract.deployment} ${invite} ${claim.claim.node}`);
  machine.saveExposed({ deployment: contract.deployment, target: `127.0.0.1:${i + 1}`, public: false });
  acknowledge(`exposed ${contract.deployment} 127.0.0.1:${i + 1}`);
  machine.saveVerifiedTime(Number(round) * 1_000_000 + i);
  acknowledge(`time ${Number(round) * 1_000_000 + i}`);
  // Lets the pipe drain, so that what was acknowledged is seen.
  if (i % 4 === 0) await new Promise((resolve) => setImmediate(resolve));
}
