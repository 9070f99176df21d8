/**
 * Keys that never leave the machine: node keys, owner keys in sealed files, libp2p conversion.
 * @packageDocumentation
 */
export {};
