/**
 * How peers find and know each other: one libp2p host, hello, heads, join, anchors.
 * @packageDocumentation
 */
export {};
