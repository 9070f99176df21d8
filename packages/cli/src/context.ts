/** What a verb gets besides its arguments. */
import { createAgentClient, createGatewayClient, type AgentClient, type GatewayClient } from '@moat/admin-api';
import { readRunningDev } from './dev/running.ts';
import { createPrompt, type Prompt } from './input/prompt.ts';
import type { Io } from './io.ts';
import { createProgress, type Progress } from './output/progress.ts';
import { createStyle, type Style } from './output/style.ts';
import { resolvePaths, type Paths } from './paths.ts';

export interface Context {
  readonly io: Io;
  readonly json: boolean;
  readonly paths: Paths;
  /** For text that goes to stdout. */
  readonly style: Style;
  readonly progress: Progress;
  readonly prompt: Prompt;
  /** This machine's agent; nothing is sent before the first call. */
  readonly agent: AgentClient;
  readonly gateway: GatewayClient;
}

export interface ContextOptions {
  readonly json?: boolean;
  readonly yes?: boolean;
  /** Use the first node of a running `moat dev` when this machine has no agent of its own. */
  readonly orDev?: boolean;
}

export function createContext(io: Io, options: ContextOptions): Context {
  const json = options.json === true;
  const own = resolvePaths(io.env);
  const dev = options.orDev === true && io.env['MOAT_HOME'] === undefined ? readRunningDev(own) : undefined;
  const paths = dev?.paths ?? own;
  const progress = createProgress(io, { quiet: json && io.stderr.isTTY !== true });
  if (dev !== undefined) progress.say(createStyle(io.stderr).dim(`(${dev.member} of the running moat dev)`));
  return {
    io,
    json,
    paths,
    progress,
    style: createStyle(io.stdout),
    prompt: createPrompt(io, options.yes === true),
    agent: createAgentClient({ socketPath: paths.agentSocket }),
    gateway: createGatewayClient({ socketPath: paths.gatewaySocket }),
  };
}
