import { silentLogger, type Logger } from '@moat/core';

/** Says everything on stderr when MOAT_TEST_LOG is set. */
export function createConsoleLogger(name: string): Logger {
  if (process.env['MOAT_TEST_LOG'] === undefined) return silentLogger;
  const say =
    (level: string) =>
    (fields: object, message: string): void =>
      console.error(name, level, message, fields);
  const logger: Logger = {
    child: () => logger,
    trace: say('trace'),
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
  };
  return logger;
}
