/** Where `moat dev` keeps its machines: one directory, kept between runs; a throw-away one for `--check`. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MoatError } from '@moat/core';
import { pathsIn, type Paths } from '../paths.ts';

export interface DevLayout extends Disposable {
  readonly root: string;
  readonly logs: string;
  readonly portsFile: string;
  readonly genesisFile: string;
  /** The database's entries. */
  readonly journal: string;
  readonly gatewayConfig: string;
  /** `MOAT_HOME` of each process. */
  readonly gateway: Paths;
  readonly web: Paths;
  readonly db: Paths;
  /** Leaves a throw-away directory where it is, for its logs. */
  keep(): void;
}

export function createLayout(
  paths: Paths,
  options: { readonly temporary: boolean; readonly fresh: boolean },
): DevLayout {
  const root = options.temporary ? mkdtempSync(join(tmpdir(), 'moat-check-')) : paths.dev;
  if (options.fresh) rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true, mode: 0o700 });
  let { temporary } = options;
  return {
    root,
    logs: join(root, 'logs'),
    portsFile: join(root, 'ports.json'),
    genesisFile: join(root, 'genesis.json'),
    journal: join(root, 'guestbook.journal'),
    gatewayConfig: join(root, 'gateway.yaml'),
    gateway: pathsIn(root),
    web: pathsIn(join(root, 'web-1')),
    db: pathsIn(join(root, 'db-1')),
    keep: () => {
      temporary = false;
    },
    [Symbol.dispose]: () => {
      if (temporary) rmSync(root, { recursive: true, force: true });
    },
  };
}

/** The example's directory. @throws `EXAMPLE_MISSING` */
export function findExample(): string {
  const directory = fileURLToPath(new URL('../../../../examples/guestbook/', import.meta.url));
  if (existsSync(join(directory, 'moat.yaml'))) return directory;
  throw new MoatError('EXAMPLE_MISSING', 'the guestbook example is not part of this installation', {
    reason: `there is no ${directory}`,
    next: ['run npm start in a clone of Moat', 'or begin with moat init'],
  });
}
