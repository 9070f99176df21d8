/**
 * Completion scripts, one for each shell. Each has the whole tree in it, so that nothing is started while somebody types; where no
 * word fits, the shell completes files.
 */
import type { CompletionNode } from './tree.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** The script of a shell; names and flags are ours, summaries are quoted. */
export function completionScript(shell: Shell, tree: readonly CompletionNode[]): string {
  if (shell === 'bash') return bash(tree);
  return shell === 'zsh' ? zsh(tree) : fish(tree);
}

const wordsOf = ({ commands, words }: CompletionNode): string =>
  [...commands.map(({ name }) => name), ...words].join(' ');

function bash(tree: readonly CompletionNode[]): string {
  const cases = tree.map(
    (node) =>
      `    ${single(node.path)}) words=${single(wordsOf(node))}; flags=${single(node.flags.map(({ flag }) => flag).join(' '))} ;;`,
  );
  return `# bash completion of moat; in ~/.bashrc: source <(moat completion bash)
_moat_known() {
  case "$1" in
${tree.map(({ path }) => `    ${single(path)}) return 0 ;;`).join('\n')}
  esac
  return 1
}
_moat() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" path=moat words='' flags='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ "\${COMP_WORDS[i]}" == -- ]] && return
    _moat_known "$path \${COMP_WORDS[i]}" && path="$path \${COMP_WORDS[i]}"
  done
  case "$path" in
${cases.join('\n')}
  esac
  if [[ "$cur" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  fi
}
complete -o bashdefault -o default -F _moat moat
`;
}

function zsh(tree: readonly CompletionNode[]): string {
  const described = (name: string, summary: string): string => single(`${name}:${summary}`);
  const cases = tree.map((node) => {
    const words = [
      ...node.commands.map(({ name, summary }) => described(name, summary)),
      ...node.words.map((word) => single(word)),
    ];
    const flags = node.flags.map(({ flag, summary }) => described(flag, summary));
    return `    ${single(node.path)}) words_=(${words.join(' ')}); flags_=(${flags.join(' ')}) ;;`;
  });
  return `#compdef moat
# zsh completion of moat; in ~/.zshrc, behind compinit: source <(moat completion zsh)
_moat() {
  local -a known words_ flags_
  local path_=moat i
  known=(${tree.map(({ path }) => single(path)).join(' ')})
  for ((i = 2; i < CURRENT; i++)); do
    [[ "\${words[i]}" == -- ]] && { _files; return }
    (( \${known[(Ie)$path_ \${words[i]}]} )) && path_="$path_ \${words[i]}"
  done
  case "$path_" in
${cases.join('\n')}
  esac
  if [[ "\${words[CURRENT]}" == -* ]]; then
    _describe flag flags_
  elif (( \${#words_} )); then
    _describe command words_
  else
    _files
  fi
}
(( $+functions[compdef] )) && compdef _moat moat
`;
}

function fish(tree: readonly CompletionNode[]): string {
  const lines = tree.flatMap((node) => {
    const here = `-n ${fishQuoted(`test (__moat_path) = '${node.path}'`)}`;
    return [
      ...node.commands.map(({ name, summary }) => `complete -c moat -f ${here} -a ${name} -d ${fishQuoted(summary)}`),
      ...node.words.map((word) => `complete -c moat -f ${here} -a ${word}`),
      ...node.flags.map(
        ({ flag, summary }) => `complete -c moat ${here} -l ${flag.replace(/^--/, '')} -d ${fishQuoted(summary)}`,
      ),
    ];
  });
  return `# fish completion of moat; moat completion fish > ~/.config/fish/completions/moat.fish
function __moat_path
  set -l known ${tree.map(({ path }) => fishQuoted(path)).join(' ')}
  set -l path moat
  for word in (commandline -opc)[2..-1]
    if test "$word" = --
      break
    end
    if contains -- "$path $word" $known
      set path "$path $word"
    end
  end
  echo $path
end
${lines.join('\n')}
`;
}

function single(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function fishQuoted(text: string): string {
  return `"${text.replaceAll(/["\\$]/g, '\\$&')}"`;
}
