/** Writes schema/moat.v1.json from the zod source; a test holds the file to it. */
import { writeFileSync } from 'node:fs';
import { deploymentFileJsonSchema } from '../src/yaml/json-schema.ts';

const path = new URL('../schema/moat.v1.json', import.meta.url);
writeFileSync(path, `${JSON.stringify(deploymentFileJsonSchema(), null, 2)}\n`);
