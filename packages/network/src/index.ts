/**
 * One member's private network: loopback listeners, SOCKS, and the last hop to a service.
 * @packageDocumentation
 */
export {};
