/** What `GET /v1/events` streams, one JSON object a line: first the state as it is, then changes as they come. */
import { z } from 'zod';
import { noticeSchema, type Notice } from './answer.ts';
import { publicationStatusSchema, type PublicationStatus } from './deployment.ts';

interface EventBase {
  /** RFC 3339. */
  readonly time: string;
}

/** Progress of a join: each step as it begins. */
export interface JoinEvent extends EventBase {
  readonly kind: 'join';
  readonly deployment: string;
  readonly step: 'dialing' | 'asking' | 'waiting' | 'joined' | 'refused';
  readonly message: string;
}

/** A version was taken or refused. */
export interface VersionEvent extends EventBase {
  readonly kind: 'version';
  readonly deployment: string;
  readonly version: number;
  readonly result: 'applied' | 'failed' | 'refused';
  readonly error: Notice | null;
}

/** A publication changed its state. */
export interface PublicationEvent extends EventBase {
  readonly kind: 'publication';
  readonly publication: PublicationStatus;
}

/** A link opened or closed. */
export interface LinkEvent extends EventBase {
  readonly kind: 'link';
  readonly peer: string;
  readonly state: 'open' | 'closed';
  readonly path: 'direct' | 'spliced' | 'relayed';
}

/** A machine took a place. */
export interface ClaimEvent extends EventBase {
  readonly kind: 'claim';
  readonly deployment: string;
  readonly member: string;
  readonly peer: string;
}

/** Something that a person should look at, such as a fork; or that it is over. */
export interface AlarmEvent extends EventBase {
  readonly kind: 'alarm';
  readonly deployment: string;
  readonly alarm: Notice;
  readonly ended?: boolean | undefined;
}

/** The stream begins (`started`) or the agent goes down (`stopping`). */
export interface AgentEventLine extends EventBase {
  readonly kind: 'agent';
  readonly state: 'started' | 'stopping';
}

export type AgentEvent =
  JoinEvent | VersionEvent | PublicationEvent | LinkEvent | ClaimEvent | AlarmEvent | AgentEventLine;

const time = z.string();
export const agentEventSchema: z.ZodType<AgentEvent> = z
  .discriminatedUnion('kind', [
    z.object({
      time,
      kind: z.literal('join'),
      deployment: z.string(),
      step: z.enum(['dialing', 'asking', 'waiting', 'joined', 'refused']),
      message: z.string(),
    }),
    z.object({
      time,
      kind: z.literal('version'),
      deployment: z.string(),
      version: z.number().int(),
      result: z.enum(['applied', 'failed', 'refused']),
      error: noticeSchema.nullable(),
    }),
    z.object({ time, kind: z.literal('publication'), publication: publicationStatusSchema }),
    z.object({
      time,
      kind: z.literal('link'),
      peer: z.string(),
      state: z.enum(['open', 'closed']),
      path: z.enum(['direct', 'spliced', 'relayed']),
    }),
    z.object({ time, kind: z.literal('claim'), deployment: z.string(), member: z.string(), peer: z.string() }),
    z.object({
      time,
      kind: z.literal('alarm'),
      deployment: z.string(),
      alarm: noticeSchema,
      ended: z.boolean().optional(),
    }),
    z.object({ time, kind: z.literal('agent'), state: z.enum(['started', 'stopping']) }),
  ])
  .meta({ id: 'AgentEvent' });
