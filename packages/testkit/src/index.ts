/**
 * Memory network, clocks, leak check, compliance suites; development only.
 * @packageDocumentation
 */
export {};
