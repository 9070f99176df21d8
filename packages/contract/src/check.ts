/** What a schema cannot say: a contract's references, uniqueness and reachability. */
import type { Contract } from './schema.ts';

/**
 * The rules every node holds every contract to, whoever wrote it.
 * @throws `CONTRACT_INVALID`, `ADDRESS_INVALID`; `details.path` names the field, as `members[2].invite`.
 */
export function checkContract(contract: Contract): void {
  throw new Error(contract.name);
}
