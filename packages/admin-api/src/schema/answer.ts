/** Pieces of answers that several endpoints share. */
import { z } from 'zod';

/** A signed or hashed document that travels unchanged; `@moat/contract` parses and types it. */
export type Document = Readonly<Record<string, unknown>>;
export const documentSchema: z.ZodType<Document> = z.record(z.string(), z.unknown()).meta({ id: 'Document' });

/** An error as the API sends it; the form of a coded error everywhere. */
export interface ErrorAnswer {
  readonly error: {
    readonly code: string;
    readonly message: string;
    /** Why it happened, one sentence. */
    readonly cause?: string | undefined;
    readonly next: readonly string[];
    readonly retryable: boolean;
  };
}
export const errorAnswerSchema: z.ZodType<ErrorAnswer> = z
  .object({
    error: z.object({
      code: z.string(),
      message: z.string(),
      cause: z.string().optional(),
      next: z.array(z.string()),
      retryable: z.boolean(),
    }),
  })
  .meta({ id: 'Error' });

/** An answer that says only that the request is done. */
export interface Done {
  readonly done: true;
}
export const doneSchema: z.ZodType<Done> = z.object({ done: z.literal(true) }).meta({ id: 'Done' });

/** A coded statement about a state that is not an error of this request. */
export interface Notice {
  readonly code: string;
  readonly message: string;
}
export const noticeSchema: z.ZodType<Notice> = z
  .object({ code: z.string(), message: z.string() })
  .meta({ id: 'Notice' });

/** Where something listens on this machine. */
export interface LocalAddress {
  readonly host: string;
  readonly port: number;
}
export const localAddressSchema: z.ZodType<LocalAddress> = z
  .object({ host: z.string(), port: z.number().int() })
  .meta({ id: 'LocalAddress' });
