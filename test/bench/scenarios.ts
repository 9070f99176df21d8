/** All scenarios, in the order in which they run. */
import { e2eScenarios } from './e2e-scenarios.ts';
import { gatewayScenarios } from './gateway-scenarios.ts';
import { growthScenarios } from './growth-scenarios.ts';
import { l4Scenarios } from './l4-scenarios.ts';
import { lifeScenarios } from './life-scenarios.ts';
import type { Scenario } from './scenario.ts';

export const scenarios: readonly Scenario[] = [
  ...e2eScenarios,
  ...l4Scenarios,
  ...gatewayScenarios,
  ...growthScenarios,
  ...lifeScenarios,
];
