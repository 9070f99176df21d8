/** The admin API: HTTP over a Unix socket that only the gateway's user may open. */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import {
  createApp,
  gatewayEndpoints,
  type ChangedName,
  type ChangeNameRequest,
  type ConfigReload,
  type CreatedInvite,
  type CreateInviteRequest,
  type DecidePublisherRequest,
  type ForgetDeploymentRequest,
  type ForgottenDeployment,
  type GatewayAudit,
  type GatewayAuditCheck,
  type GatewayCertificate,
  type GatewayName,
  type GatewayPublisher,
  type GatewayPublishers,
  type GatewayRoute,
  type GatewaySnapshot,
  type GatewayStatus,
  type GatewaySuspension,
  type KeyRotation,
  type Resumed,
  type ResumeRequest,
  type StopRequest,
  type SuspendRequest,
} from '@moat/admin-api';
import type { Logger, Service } from '@moat/core';
import { refusal } from '../errors.ts';

export interface AdminApiDeps {
  readonly logger: Logger;
  status(): Promise<GatewayStatus>;
  names(): readonly GatewayName[];
  changeName(request: ChangeNameRequest): Promise<ChangedName>;
  certificates(): readonly GatewayCertificate[];
  routes(): { readonly snapshot: number; readonly routes: readonly GatewayRoute[] };
  publishers(): GatewayPublishers;
  decide(request: DecidePublisherRequest): Promise<GatewayPublisher>;
  forget(request: ForgetDeploymentRequest): Promise<ForgottenDeployment>;
  suspend(request: SuspendRequest): Promise<GatewaySuspension>;
  resume(request: ResumeRequest): Promise<Resumed>;
  audit(afterSeq: number, sinceMs: number): GatewayAudit;
  checkAudit(): Promise<GatewayAuditCheck>;
  invite(request: CreateInviteRequest): CreatedInvite;
  /** Makes the next key, or lets it take over. */
  rotateKey(finish: boolean): Promise<KeyRotation>;
  /** Answers paths that are no part of the API; false = none of its own. */
  operations(request: IncomingMessage, response: ServerResponse): boolean;
  /** Copies everything into a directory beside the state, for whoever packs it. */
  backup(): Promise<GatewaySnapshot>;
  /** Reads gateway.yaml anew. */
  reload(): Promise<ConfigReload>;
  /** Puts new workers in place; resolves when they accept clients. */
  restartWorkers(): Promise<void>;
  /** Asks the process to stop; returns at once. */
  stop(request: StopRequest): void;
}

export interface AdminApiOptions {
  readonly socketPath: string;
  /** Of the OpenAPI document. */
  readonly version: string;
}

export class AdminApi implements Service {
  readonly #deps: AdminApiDeps;
  readonly #options: AdminApiOptions;
  #server: Server | undefined;

  constructor(deps: AdminApiDeps, options: AdminApiOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** @throws `LISTEN_FAILED` also when another gateway answers on the socket */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    options.signal.throwIfAborted();
    const { socketPath, version } = this.#options;
    const deps = this.#deps;
    const app = await createApp(
      gatewayEndpoints,
      {
        status: () => deps.status(),
        names: () => ({ names: deps.names() }),
        changeName: ({ body }) => deps.changeName(body),
        certificates: () => ({ certificates: deps.certificates() }),
        routes: () => deps.routes(),
        publishers: () => deps.publishers(),
        decide: ({ body }) => deps.decide(body),
        forget: ({ body }) => deps.forget(body),
        suspend: ({ body }) => deps.suspend(body),
        resume: ({ body }) => deps.resume(body),
        audit: ({ query }) => deps.audit(Number(query['after']) || 0, Number(query['since']) || 0),
        checkAudit: () => deps.checkAudit(),
        invite: ({ body }) => deps.invite(body),
        rotateKey: ({ body }) => deps.rotateKey(body.finish),
        backup: () => deps.backup(),
        reload: () => deps.reload(),
        restartWorkers: async () => {
          await deps.restartWorkers();
          return { done: true as const };
        },
        stop: ({ body }) => {
          deps.stop(body);
          return { done: true as const };
        },
      },
      {
        title: 'Moat gateway',
        version,
        onUnexpected: (err) => deps.logger.error({ component: 'gateway.admin', err }, 'admin request failed'),
      },
    );
    await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
    await refuseSecond(socketPath);
    await rm(socketPath, { force: true });
    const listener = getRequestListener((request) => app.fetch(request));
    const server = createServer((request, response) => {
      if (!deps.operations(request, response)) void listener(request, response);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        reject(refusal('LISTEN_FAILED', `cannot listen on ${socketPath}`, { cause, details: { socketPath } }));
      });
      server.listen(socketPath, resolve);
    });
    // The directory is ours alone, so nobody came in before this line.
    await chmod(socketPath, 0o600);
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeIdleConnections();
      // A client that asked us to stop gets its answer; nobody keeps us for longer.
      setTimeout(() => server.closeAllConnections(), 200).unref();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/**
 * Refuses to start beside a gateway that runs on the same state; to call before anything is opened.
 * @throws `STATE_LOCKED`
 */
export async function refuseSecond(socketPath: string): Promise<void> {
  if (!(await isAnswered(socketPath))) return;
  throw refusal('STATE_LOCKED', `another gateway runs on ${socketPath}`, { details: { socketPath } });
}

function isAnswered(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
