-- Erasures: what was known of an event, a subject or a customer is removed from the log, and the keys of what is sealed on
-- topics are destroyed.

-- Whether payloads are sealed when they come in; a customer that has none of its own takes its tenant's.
ALTER TABLE tenants ADD COLUMN encryption text NOT NULL DEFAULT 'off' CHECK (encryption IN ('off', 'on'));
ALTER TABLE customers ADD COLUMN encryption text CHECK (encryption IN ('off', 'on'));

-- What the keys of payloads are computed from, sealed with the key ring; in epoch 0 what subjects are hashed with. A row is
-- written over when something is erased, so that what was destroyed is not in it.
CREATE TABLE payload_keys (
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    epoch integer NOT NULL,
    shard smallint NOT NULL,
    key_ring_id text NOT NULL,
    ciphertext text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, epoch, shard)
);
-- What was written over goes soon.
ALTER TABLE payload_keys SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0);

-- Kept for good: each is a rule that holds for whatever comes later of what was accepted before it.
CREATE TABLE erasures (
    erasure_id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    what text NOT NULL CHECK (what IN ('event', 'subject', 'customer')),
    event_id uuid,
    -- Of an event: whose alone it may be; NULL where any of the tenant's customers.
    customer_id uuid,
    subject_id uuid,
    -- It is about what was accepted until then.
    until timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished')),
    -- Whether keys were destroyed; NULL until that is done.
    shredded boolean,
    deliveries bigint NOT NULL DEFAULT 0,
    attempts bigint NOT NULL DEFAULT 0,
    dead_letters bigint NOT NULL DEFAULT 0,
    -- Attempts and dead letters whose payload was in clear on topics.
    clear bigint NOT NULL DEFAULT 0,
    -- When the last topic has dropped what was in clear; NULL where nothing was.
    kept_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CHECK (CASE what
        WHEN 'event' THEN event_id IS NOT NULL
        WHEN 'subject' THEN subject_id IS NOT NULL AND customer_id IS NOT NULL
        ELSE customer_id IS NOT NULL
    END)
);
CREATE INDEX erasures_of_tenant ON erasures (tenant_id, created_at, erasure_id);
CREATE INDEX erasures_of_event ON erasures (event_id) WHERE what = 'event';
CREATE INDEX erasures_of_customer ON erasures (customer_id, subject_id) WHERE what <> 'event';
CREATE INDEX erasures_to_do ON erasures (created_at) WHERE state = 'running';

ALTER TABLE attempts ADD COLUMN subject_id uuid;
-- How payload, response_headers and response_excerpt are sealed, where they are.
ALTER TABLE attempts ADD COLUMN sealing bytea;
CREATE INDEX attempts_of_subject ON attempts (subject_id) WHERE subject_id IS NOT NULL;
-- A state more: erased.
ALTER TABLE dead_letters ADD COLUMN subject_id uuid;
ALTER TABLE dead_letters ADD COLUMN sealed boolean NOT NULL DEFAULT false;
CREATE INDEX dead_letters_of_event ON dead_letters (event_id);
CREATE INDEX dead_letters_of_subject ON dead_letters (subject_id) WHERE subject_id IS NOT NULL;

ALTER TABLE payload_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE erasures ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY payload_keys_scope ON payload_keys
    USING (in_tenant(tenant_id)) WITH CHECK (in_tenant(tenant_id));
-- A customer sees and makes what is about itself alone.
CREATE POLICY erasures_scope ON erasures
    USING (in_customer(tenant_id, customer_id)) WITH CHECK (in_customer(tenant_id, customer_id));
GRANT SELECT, INSERT, UPDATE, DELETE ON payload_keys, erasures TO pushrail_app;
