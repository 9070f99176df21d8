/** The database's schema, one script a version; a script that was released is never changed. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

  CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    genesis TEXT NOT NULL,
    successions TEXT NOT NULL,
    pinned_version INTEGER NOT NULL,
    pinned_head TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE versions (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    head TEXT NOT NULL,
    contract BLOB NOT NULL,
    signed TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    PRIMARY KEY (deployment, version)
  ) STRICT;

  CREATE TABLE forks (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    head TEXT NOT NULL,
    version INTEGER NOT NULL,
    proof TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (deployment, head)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE claims (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    hash TEXT NOT NULL,
    claim TEXT NOT NULL,
    PRIMARY KEY (deployment, hash)
  ) STRICT, WITHOUT ROWID;

  -- Outlives its deployment: a keeper never witnesses two claims on one invite, whatever happens between.
  CREATE TABLE witnessed (
    deployment TEXT NOT NULL,
    invite TEXT NOT NULL,
    hash TEXT NOT NULL,
    claim TEXT NOT NULL,
    PRIMARY KEY (deployment, invite)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE own_claims (
    deployment TEXT NOT NULL,
    invite TEXT NOT NULL,
    signed TEXT NOT NULL,
    details TEXT NOT NULL,
    PRIMARY KEY (deployment, invite)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE receipts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    head TEXT NOT NULL,
    result TEXT NOT NULL,
    code TEXT,
    message TEXT,
    time INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX receipts_of ON receipts (deployment, id);

  CREATE TABLE exposed (
    deployment TEXT NOT NULL,
    target TEXT NOT NULL,
    public INTEGER NOT NULL,
    PRIMARY KEY (deployment, target)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE forwards (
    id TEXT PRIMARY KEY,
    deployment TEXT NOT NULL,
    service TEXT NOT NULL,
    local TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE presented (
    deployment TEXT NOT NULL,
    gateway TEXT NOT NULL,
    addresses TEXT NOT NULL,
    PRIMARY KEY (deployment, gateway)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE addresses (
    peer TEXT PRIMARY KEY,
    addresses TEXT NOT NULL,
    learned_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- The other branch whole: what it allows counts too, and the version that ends the fork needs both.
  ALTER TABLE forks ADD COLUMN successions TEXT NOT NULL DEFAULT '[]';
  ALTER TABLE forks ADD COLUMN contract BLOB;
  -- Milliseconds since a keeper last confirmed our head, as of a time of ours.
  ALTER TABLE deployments ADD COLUMN unconfirmed_ms INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE deployments ADD COLUMN unconfirmed_at INTEGER NOT NULL DEFAULT 0;
  UPDATE deployments SET unconfirmed_at =
    (SELECT accepted_at FROM versions WHERE versions.deployment = id AND version = pinned_version);
  `,
  `
  CREATE TABLE proposals (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    proposal BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (deployment, id)
  ) STRICT;

  -- The newest of each member's machine.
  CREATE TABLE member_receipts (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    node TEXT NOT NULL,
    receipt TEXT NOT NULL,
    PRIMARY KEY (deployment, node)
  ) STRICT, WITHOUT ROWID;

  -- Deployments held for an owner without a place here, and where their keepers are.
  CREATE TABLE locators (
    deployment TEXT PRIMARY KEY REFERENCES deployments (id) ON DELETE CASCADE,
    addresses TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- Networks for which the operator asked for an interface; in force after every restart.
  CREATE TABLE wireguard (
    deployment TEXT PRIMARY KEY,
    netns TEXT,
    netns_made INTEGER NOT NULL,
    netns_mark TEXT,
    port INTEGER NOT NULL,
    remap TEXT
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- Signed entries that this machine keeps as an anchor, the newest of each subject.
  CREATE TABLE directory (
    subject TEXT PRIMARY KEY,
    entry TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
];
