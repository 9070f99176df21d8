/**
 * Writes docs/reference/command.md from the command itself: each verb with its examples and flags, and the exit codes.
 * `npm run docs:command`; test/command-doc.test.ts fails when the page is not what this writes.
 */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { EXIT } from '../packages/cli/src/exit-codes.ts';
import { nameOf } from '../packages/cli/src/help.ts';
import { createProgram } from '../packages/cli/src/program.ts';
import { examplesOf } from '../packages/cli/src/verb.ts';

const INTRODUCTION = `# The moat command

\`moat help VERB\` shows the same. The result goes to stdout, everything else to stderr. With \`--json\`, stdout is one object
\`{"kind","version","data"}\` and an error is one object \`{"error"}\` on stderr.

A flag wins over the environment variable named beside it in brackets, the variable over the default in parentheses. \`MOAT_HOME\` is the
directory of keys, state and sockets: by default \`/var/lib/moat\` for root, and \`$XDG_STATE_HOME/moat\` or \`~/.local/state/moat\` for a user.
`;

const EXIT_MEANINGS = {
  done: 'done',
  failed: 'failed; a retry may work',
  usage: 'the command line is wrong',
  invalid: 'a file or the configuration is invalid',
  refused: 'refused',
  notFound: 'not found',
  conflict: 'in conflict with what is there',
  timedOut: 'not done in time; a retry may work',
  agentNotRunning: 'the agent or the gateway does not run',
  checkFound: 'a check found something',
  nodeTooOld: 'this Node is too old',
  interrupted: 'interrupted by SIGINT',
  terminated: 'ended by SIGTERM',
};

const file = join(dirname(dirname(fileURLToPath(import.meta.url))), 'docs', 'reference', 'command.md');

/** The text of docs/reference/command.md. */
export async function renderCommand() {
  const program = await createProgram({ stdout: process.stdout }, async () => undefined, '0');
  const groups = Map.groupBy(
    program.commands.filter((command) => command.name() !== 'help'),
    (command) => command.helpGroup(),
  );
  const parts = [INTRODUCTION];
  for (const [group, commands] of groups) {
    parts.push(`## ${group}\n`, ...commands.flatMap(leaves).map(renderVerb));
  }
  parts.push(renderExitCodes());
  return format(parts.join('\n'), { ...(await resolveConfig(file)), parser: 'markdown' });
}

/** A command and what it leads to; not a word that only leads to others. */
function leaves(command) {
  const verbs = command.commands.filter((sub) => sub.name() !== 'help');
  return [...(examplesOf.has(command) ? [command] : []), ...verbs.flatMap(leaves)];
}

function renderVerb(command) {
  const words = command.registeredArguments.map((argument) => {
    const word = `${argument.name()}${argument.variadic ? '…' : ''}`;
    return argument.required ? `<${word}>` : `[${word}]`;
  });
  const examples = (examplesOf.get(command) ?? []).map(([line, does]) => `# ${does}\n${line}`);
  const options = command.options.filter(({ long }) => long !== '--json').map(renderOption);
  return [
    `### ${nameOf(command)}\n`,
    `\`${[nameOf(command), ...words].join(' ')}\`: ${command.description()}.\n`,
    ...(examples.length === 0 ? [] : [`\`\`\`\n${examples.join('\n')}\n\`\`\`\n`]),
    ...(options.length === 0 ? [] : [`| flag | what |\n| --- | --- |\n${options.join('\n')}\n`]),
  ].join('\n');
}

function renderOption({ flags, description, defaultValue }) {
  const preset = typeof defaultValue === 'string' ? ` (${defaultValue})` : '';
  return `| \`${flags.replaceAll('|', '\\|')}\` | ${`${description}${preset}`.replaceAll('|', '\\|')} |`;
}

function renderExitCodes() {
  const rows = Object.entries(EXIT).map(([name, code]) => `| ${code} | ${EXIT_MEANINGS[name]} |`);
  return `## Exit codes\n\n| code | meaning |\n| --- | --- |\n${rows.join('\n')}\n\n\`moat run\` ends with the exit code of its program.\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(file, await renderCommand());
