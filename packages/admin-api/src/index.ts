/**
 * Schema and typed client of the local API.
 * @packageDocumentation
 */
export {};
