/**
 * The public edge: a process of its own that leads published names, and nothing else, inward.
 * @packageDocumentation
 */
export {};
