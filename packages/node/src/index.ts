/**
 * The agent of a machine.
 * @packageDocumentation
 */
export {};
