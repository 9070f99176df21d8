import { spawnSync } from 'node:child_process';

/** Why this machine's own tools cannot be tried; false when they can. */
export function machineSkip(): string | false {
  if (process.getuid?.() !== 0) return 'WireGuard interfaces need root';
  for (const tool of ['ip', 'nft', 'wg', 'wireguard-go', 'nsenter', 'sysctl']) {
    if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).error) return `${tool} is not installed`;
  }
  return false;
}
