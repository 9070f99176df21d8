/** Codes that the client of the local API raises itself; all others come from the agent as they are. */
export const ADMIN_API_ERROR_CODES = [
  'AGENT_NOT_RUNNING', // no agent answers on the socket | start it with `moat node run`, or point MOAT_HOME at its state directory
  'AGENT_TIMEOUT', // the agent took the request and gave no answer in time | look at the agent's log, then try again
  'AGENT_ANSWER_INVALID', // the agent's answer is not of this version of the API | restart the agent so that it runs the installed version
  'REQUEST_INVALID', // a request to the local API does not fit its schema | compare the request with GET /v1/openapi.json
  'ENDPOINT_UNKNOWN', // the local API has no such endpoint | restart the agent or gateway so that it runs the installed version
] as const;
export type AdminApiErrorCode = (typeof ADMIN_API_ERROR_CODES)[number];
