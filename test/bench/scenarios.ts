/** All scenarios, in the order in which they run. */
import { e2eScenarios } from './e2e-scenarios.ts';
import { gatewayScenarios } from './gateway-scenarios.ts';
import { idleScenarios } from './growth-scenarios.ts';
import type { Scenario } from './scenario.ts';

export const scenarios: readonly Scenario[] = [...e2eScenarios, ...gatewayScenarios, ...idleScenarios];
