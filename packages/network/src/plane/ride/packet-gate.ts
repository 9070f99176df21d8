import type { ContractView } from '@moat/contract';
import type { LinkStream, PeerId } from '@moat/core';
import { meetingDenial } from '../paths/meeting.ts';

export interface PacketGateOptions {
  /** This machine's place in the deployment. */
  readonly self: string;
  /** Has streams that were let in. @defaultValue none is let in: this machine's WireGuard is not up */
  readonly take?: ((stream: LinkStream) => void) | undefined;
}

/**
 * Lets streams of packets in: from members with whom the contract gives this machine a tunnel, one of each.
 * Bound: one stream a member; the older one gives way.
 */
export class PacketGate {
  readonly #options: PacketGateOptions;
  readonly #streams = new Map<PeerId, LinkStream>();

  constructor(options: PacketGateOptions) {
    this.#options = options;
  }

  /** Takes the stream, or returns why not. @param now milliseconds since 1970 */
  accept(stream: LinkStream, view: ContractView, now: number): string | undefined {
    const { take } = this.#options;
    const code = this.#denial(stream, view, now);
    if (code !== undefined || take === undefined) return code ?? 'PACKETS_REFUSED';
    this.#streams.get(stream.peer)?.reset('PACKETS_OVER');
    this.#streams.set(stream.peer, stream);
    take(stream);
    return undefined;
  }

  /** Ends what the contract does not allow any more. */
  review(view: ContractView, now: number): void {
    for (const stream of this.#streams.values()) {
      const code = this.#denial(stream, view, now);
      if (code !== undefined) this.#end(stream, code);
    }
  }

  endAll(code: string): void {
    for (const stream of this.#streams.values()) this.#end(stream, code);
  }

  #end(stream: LinkStream, code: string): void {
    this.#streams.delete(stream.peer);
    stream.reset(code);
  }

  #denial({ peer, request }: LinkStream, view: ContractView, now: number): string | undefined {
    const member = view.memberOf(peer);
    if (member === undefined || request.deployment !== view.contract.deployment) return 'GRANT_DENIED';
    return meetingDenial(view, this.#options.self, member.name, now);
  }
}
