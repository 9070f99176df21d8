/** `--code-file`: an operator's invite code, spent at the gateway before the version that needs it is signed. */
import { peerIdOfMultiaddr, type Contract } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Context } from '../context.ts';
import { readFileOrStdin } from '../input/files.ts';
import type { VerbOption } from '../verb.ts';

export const CODE_OPTION: VerbOption = {
  flags: '--code-file <file>',
  text: 'invite code of the gateway’s operator, - for stdin; DOMAIN=FILE where several gateways are used',
  env: 'MOAT_CODE_FILE',
};

/**
 * Spends the code on the deployment of `contract` at the gateway it is for; nothing without a file. The code goes
 * from the file through the agent to the gateway, and nowhere else.
 * @param domain of the gateway, where a verb names it
 * @throws `USAGE`, `FILE_MISSING`, and what the gateway answers: `CODE_INVALID`, `CODE_GUESSES`, `PUBLISHER_REFUSED`
 */
export async function spendCode(
  context: Context,
  codeFile: string | undefined,
  contract: Contract,
  domain?: string,
): Promise<void> {
  if (codeFile === undefined) return;
  const { agent, io, progress } = context;
  const [, named, file = codeFile] = /^([^=/]+\.[^=/]+|localhost)=(.+)$/.exec(codeFile) ?? [];
  const lines = contract.publish.filter(({ gateway }) => gateway.domain === (named ?? domain ?? gateway.domain));
  const gateways = [...new Map(lines.map(({ gateway }) => [gateway.domain, gateway])).values()];
  const [only] = gateways;
  if (only === undefined || gateways.length > 1) {
    throw new MoatError('USAGE', 'a code is for one gateway', {
      reason:
        only === undefined
          ? `${contract.name} publishes nothing${named === undefined ? '' : ` at ${named}`}`
          : `${contract.name} publishes at ${gateways.length}`,
      next: gateways.map((gateway) => `--code-file ${gateway.domain}=FILE`),
    });
  }
  const code = (await readFileOrStdin(io, file)).trim();
  if (!/^[\x21-\x7e]{1,128}$/.test(code)) {
    throw new MoatError('CODE_INVALID', `${file === '-' ? 'what came on stdin' : file} holds no invite code`, {
      next: ['a code is one line that begins with moatcode-'],
    });
  }
  const [peer] = only.peers.map(peerIdOfMultiaddr);
  const addresses = only.peers.filter((address) => peerIdOfMultiaddr(address) === peer);
  const spending = agent.redeem({ deployment: contract.deployment, addresses, code }, { signal: io.signal });
  await progress.during(`handing the code to ${only.domain}`, spending);
}
