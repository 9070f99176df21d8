/** A gateway's admin API as methods. */
import { gatewayEndpoints } from './gateway-endpoints.ts';
import type {
  CreatedInvite,
  CreateInviteRequest,
  DecidePublisherRequest,
  ForgetDeploymentRequest,
  ForgottenDeployment,
  GatewayNames,
  GatewayPublisher,
  GatewayPublishers,
  GatewayRoutes,
  GatewayStatus,
  KeyRotation,
} from './schema/gateway.ts';
import type {
  ConfigReload,
  GatewayAudit,
  GatewayAuditCheck,
  GatewaySnapshot,
  GatewaySuspension,
  Resumed,
  StopRequest,
  SuspendRequest,
} from './schema/gateway-operator.ts';
import type { GatewayCertificates } from './schema/gateway-certificates.ts';
import type { ChangedName, ChangeNameRequest } from './schema/gateway-names.ts';
import { UnixClient, type CallOptions } from './unix-client.ts';

/** Every method throws as those of the agent's client. */
export interface GatewayClient {
  status(options?: CallOptions): Promise<GatewayStatus>;
  names(options?: CallOptions): Promise<GatewayNames>;
  certificates(options?: CallOptions): Promise<GatewayCertificates>;
  changeName(request: ChangeNameRequest, options?: CallOptions): Promise<ChangedName>;
  routes(options?: CallOptions): Promise<GatewayRoutes>;
  publishers(options?: CallOptions): Promise<GatewayPublishers>;
  decide(request: DecidePublisherRequest, options?: CallOptions): Promise<GatewayPublisher>;
  forget(request: ForgetDeploymentRequest, options?: CallOptions): Promise<ForgottenDeployment>;
  suspend(request: SuspendRequest, options?: CallOptions): Promise<GatewaySuspension>;
  resume(request: { readonly subject: string }, options?: CallOptions): Promise<Resumed>;
  /** Up to 1000 lines behind number `after`, none before `sinceMs` since the epoch. */
  audit(query: { readonly after: number; readonly sinceMs: number }, options?: CallOptions): Promise<GatewayAudit>;
  checkAudit(options?: CallOptions): Promise<GatewayAuditCheck>;
  invite(request: CreateInviteRequest, options?: CallOptions): Promise<CreatedInvite>;
  rotateKey(request: { readonly finish: boolean }, options?: CallOptions): Promise<KeyRotation>;
  backup(options?: CallOptions): Promise<GatewaySnapshot>;
  reload(options?: CallOptions): Promise<ConfigReload>;
  /** Resolves when every place has a new worker. */
  restartWorkers(options?: CallOptions): Promise<void>;
  /** Returns at once; by default what runs has ten seconds. */
  stop(request: StopRequest, options?: CallOptions): Promise<void>;
}

/** A client of the gateway that listens on `socketPath`. */
export function createGatewayClient(options: { readonly socketPath: string }): GatewayClient {
  const client = new UnixClient({ ...options, who: 'the gateway', startCommand: 'moat gateway run' });
  return {
    status: (call) => client.call(gatewayEndpoints.status, {}, call),
    names: (call) => client.call(gatewayEndpoints.names, {}, call),
    certificates: (call) => client.call(gatewayEndpoints.certificates, {}, call),
    changeName: (body, call) => client.call(gatewayEndpoints.changeName, { body }, call),
    routes: (call) => client.call(gatewayEndpoints.routes, {}, call),
    publishers: (call) => client.call(gatewayEndpoints.publishers, {}, call),
    decide: (body, call) => client.call(gatewayEndpoints.decide, { body }, call),
    forget: (body, call) => client.call(gatewayEndpoints.forget, { body }, call),
    suspend: (body, call) => client.call(gatewayEndpoints.suspend, { body }, call),
    resume: (body, call) => client.call(gatewayEndpoints.resume, { body }, call),
    audit: ({ after, sinceMs }, call) => {
      const query = { after: String(after), since: String(sinceMs) };
      return client.call(gatewayEndpoints.audit, { query }, call);
    },
    checkAudit: (call) => client.call(gatewayEndpoints.checkAudit, {}, call),
    invite: (body, call) => client.call(gatewayEndpoints.invite, { body }, call),
    rotateKey: (body, call) => client.call(gatewayEndpoints.rotateKey, { body }, call),
    backup: (call) => client.call(gatewayEndpoints.backup, {}, call),
    reload: (call) => client.call(gatewayEndpoints.reload, {}, call),
    restartWorkers: async (call) => void (await client.call(gatewayEndpoints.restartWorkers, {}, call)),
    stop: async (body, call) => void (await client.call(gatewayEndpoints.stop, { body }, call)),
  };
}
