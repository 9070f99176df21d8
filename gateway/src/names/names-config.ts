/** `names:` of gateway.yaml. */
import { isLabel } from '@moat/core';
import { z } from 'zod';

/** As the file says it. */
export interface NamesFile {
  readonly reserved?: readonly string[] | undefined;
}

const MAX_RESERVED = 10_000;

const shape = {
  reserved: z
    .array(z.string().refine(isLabel, 'a name is one label: a-z, 0-9 and inner hyphens'))
    .max(MAX_RESERVED)
    .optional(),
};

/** Keys of `names:`. */
export const NAMES_KEYS: readonly string[] = Object.keys(shape);
export const namesSchema: z.ZodType<NamesFile> = z.strictObject(shape);
