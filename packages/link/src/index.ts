/**
 * Bytes between two peers: many streams with credit over one TLS 1.3 PSK socket.
 * @packageDocumentation
 */
export {};
