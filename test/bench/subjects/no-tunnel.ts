/** The ceiling: nginx and the service's machine on one cable, with nothing encrypted between them. */
import { FAR_ADDRESS, namespacesMissing } from '../namespaces.ts';
import { missingPrograms } from '../programs.ts';
import type { Subject } from '../subject.ts';
import { placesAt, startNginxEdge } from './edges.ts';

export const nginxNoTunnel: Subject = {
  name: 'nginx',
  missing: async () => namespacesMissing() ?? missingPrograms('nginx', 'openssl', 'h2load'),
  start: (context) => startNginxEdge(context, { name: 'nginx', port: 8441, ...placesAt(FAR_ADDRESS), tunnel: [] }),
};
