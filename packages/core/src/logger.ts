/** The part of pino that Moat uses. Message constant, data in fields named in docs/logging.md. */
export interface Logger {
  child(bindings: Readonly<Record<string, unknown>>): Logger;
  trace(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const nothing = (): void => undefined;

/** Says nothing; the default of tests. */
export const silentLogger: Logger = {
  child: () => silentLogger,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
};
