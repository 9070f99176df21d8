/**
 * The moat command.
 * @packageDocumentation
 */
export {};
