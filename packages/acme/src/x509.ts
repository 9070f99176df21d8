/**
 * The library that writes certificates and requests, loaded when the first one is due: it takes 13 MiB and a fifth of a
 * second, and most processes that import this package (workers, agents) never write one.
 */
export async function loadX509(): Promise<typeof import('@peculiar/x509')> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}
