/**
 * The library that writes certificates and requests, loaded when the first one is due: it takes 13 MiB and a fifth of a
 * second, and most processes that import this package (workers, agents) never write one.
 */
import type * as X509 from '@peculiar/x509';

/** The library, one for all. */
export async function loadX509(): Promise<typeof X509> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}
