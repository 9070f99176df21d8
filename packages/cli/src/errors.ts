/** Every code the command itself raises. Beside each: what it means | what to do. */
export const CLI_ERROR_CODES = [
  'USAGE', // an unknown command or flag, or an argument that is missing or malformed | see moat help VERB
  'NODE_TOO_OLD', // this Node.js is older than Moat needs and no newer one was found | install the version named in the message
  'FILE_MISSING', // a file named on the command line, or moat.yaml, is not there | check the path, or moat init
  'FILE_EXISTS', // a file would be overwritten | choose another path or move the file away
  'FILE_UNREADABLE', // the operating system refuses the file | check its path and permissions
  'FILE_INVALID', // the deployment file breaks a rule; each place is listed | correct the lines named
  'OWNER_KEY_FOREIGN', // this owner key is none of the deployment's owners | use the key of an owner
  'DEPLOYMENT_UNKNOWN', // this machine's agent has no such deployment | moat status lists them; moat join or moat apply adds one
  'DEPLOYMENT_AMBIGUOUS', // more than one deployment fits | name one with --network
  'CONFIRMATION_NEEDED', // the answer to a question is needed and there is no terminal | look at it, then repeat with --yes
  'DECLINED', // you answered no | nothing was changed
  'APPLIED_IN_BETWEEN', // another version was applied since this one was planned | plan again and look at the difference
  'MEMBER_TAKEN', // the place is held by a machine already | remove and apply, then invite again
  'NO_KEEPER', // the deployment has no pinned keeper that could witness a join | mark a pinned member keeper: true and apply
  'NO_GATEWAY', // no gateway is named to publish at | --gateway, MOAT_GATEWAY, gateway: in config.yaml, or run one
  'GATEWAY_AMBIGUOUS', // the network uses several gateways | name one with --gateway
  'GATEWAY_UNREACHABLE', // the gateway's domain did not answer over https | check the domain and that the gateway runs
  'GATEWAY_ANSWER_INVALID', // what the domain answered is no gateway's description | check the domain
  'PROPOSAL_INVALID', // the file is no proposal | have it written anew by moat apply --out
  'SIGN_IN_NOT_OFFERED', // the host asks for no key of Moat | check the name; its publisher writes auth: { keys } in moat.yaml
  'NAME_UNKNOWN', // no publication of that name | moat names lists them
  'NAME_TAKEN', // the deployment publishes that name already | unpublish it first, or choose another
  'SERVICE_NOT_HTTP', // only http services can be published so far | set protocol: http on the service
  'NOT_READY_IN_TIME', // what was waited for did not happen within the limit | look at moat status and moat doctor, then repeat
  'DEV_RUNNING', // a moat dev runs on this machine already | use it, or stop it first
  'DEV_PROCESS_ENDED', // a process of moat dev ended by itself | its last lines and its log say why
  'EXAMPLE_MISSING', // the guestbook is not where this Moat was installed | run moat dev from a clone
  'PORT_TAKEN', // a local port is in use | choose another with --local
  'TARGET_INVALID', // not a port, host:port or unix:path | write it as the help shows
  'DEVICE_ENDPOINT_NEEDED', // where a device would find its member's WireGuard is not known on this machine | --endpoint HOST:PORT
  'QR_TOO_LONG', // the text does not fit a QR code | leave --qr out and carry the file over
  'COMMAND_NOT_FOUND', // the program to run does not exist | check its name and PATH
  'NOT_DIRECT', // the time is over and the path is still not direct | the message says why; open a port on one of the two machines
  'TRUST_UNCHANGED', // this machine's trusted authorities could not be changed | run the line of the message, as root
  'SERVICE_MANAGER_FAILED', // systemd is not there, or refused what was asked of it | read what it said; run it as root
  'CLIENT_CA_INVALID', // the authority for client certificates cannot be read, is over, or its key is another's | name one of ECDSA P-256 with --ca FILE; where there is none it is made
  'DURATION_INVALID', // not a length of time such as 30s, 15m, 1h or 7d | write a number and a unit
] as const;

export type CliErrorCode = (typeof CLI_ERROR_CODES)[number];
