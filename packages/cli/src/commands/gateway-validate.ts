/** `moat gateway validate`: whether gateway.yaml can be used, before it is. */
import type { Command } from 'commander';
import { readTextFile, resolvePath } from '../input/files.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addGatewayValidate(gateway: Command, runner: VerbRunner): void {
  addVerb<{ readonly config: string }>(
    gateway,
    runner,
    {
      usage: 'validate',
      summary: 'checks gateway.yaml; each problem with its line and column',
      examples: [['moat gateway validate --config gateway.yaml', 'exit code 3 when it cannot be used']],
      options: [{ flags: '--config <file>', text: 'gateway.yaml', preset: 'gateway.yaml', env: 'MOAT_GATEWAY_CONFIG' }],
    },
    async ({ io, style }, _, { config: path }) => {
      const text = await readTextFile(io, path, ['moat gateway init', 'or name yours with --config FILE']);
      // A part of its own: loading it loads the whole gateway.
      const { parseGatewayConfig } = await import('@moat/gateway');
      const { domain } = parseGatewayConfig(text, resolvePath(io, path), io.env);
      return {
        kind: 'gateway-validate',
        data: { file: path, domain },
        text: `${style.ok} ${path} can be used: ${domain}`,
      };
    },
  );
}
