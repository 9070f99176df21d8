/**
 * libp2p's own log, which we have no use for: what happens to a connection is said by ours.
 * Measured: its loggers, one a connection and three a stream, ask each time whether standard error is a terminal; of a busy
 * keeper's CPU time that was a thirtieth.
 */
import type { ComponentLogger, Logger } from '@libp2p/interface';

const nothing = (): void => undefined;

const silent: Logger = Object.assign((): void => undefined, {
  error: nothing,
  trace: nothing,
  enabled: false,
  newScope: (): Logger => silent,
});

/** What libp2p takes as `logger`. */
export const silentLog: ComponentLogger = { forComponent: () => silent };
