-- Replays: jobs that put deliveries of one destination on their way again.
--
-- A job is worked on by whoever holds its lease, from the position that was saved last. What it is to do and whether it may
-- go on is decided by its state, which the control plane changes; what has been done is saved by the one with the lease.

CREATE TABLE replays (
    replay_id uuid PRIMARY KEY,
    tenant_id text NOT NULL,
    customer_id uuid NOT NULL,
    -- Without a foreign key: what was replayed is known when the destination is gone.
    destination_id uuid NOT NULL,
    -- What was asked for: deadLetters, events or delivery.
    source text NOT NULL,
    -- Where it is read: one delivery is taken from its dead letter, or else from events.
    reads text NOT NULL CHECK (reads IN ('dead_letters', 'events')),
    selection json NOT NULL,
    state text NOT NULL CHECK (state IN ('estimating', 'estimated', 'running', 'paused', 'cancelled', 'finished', 'failed')),
    -- Runs as soon as it is estimated.
    start_at_once boolean NOT NULL DEFAULT false,
    rate_per_second integer NOT NULL CHECK (rate_per_second > 0),
    estimate bigint,
    estimate_exact boolean NOT NULL DEFAULT false,
    -- Records of the customer that were looked at.
    scanned bigint NOT NULL DEFAULT 0,
    sent bigint NOT NULL DEFAULT 0,
    -- Counts by reason.
    skipped json NOT NULL DEFAULT '{}',
    -- Where the next one continues, as pushrail-replay writes it; NULL before the first.
    position json,
    -- From 0 to 1.
    progress double precision NOT NULL DEFAULT 0,
    eta_seconds bigint,
    -- Why it failed, or why it waits.
    error text,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    leased_by uuid,
    leased_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers ON DELETE CASCADE
);
CREATE INDEX replays_of_destination ON replays (destination_id, created_at, replay_id);
CREATE INDEX replays_to_do ON replays (created_at) WHERE state IN ('estimating', 'running');
CREATE INDEX replays_by_end ON replays (finished_at) WHERE finished_at IS NOT NULL;

ALTER TABLE replays ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY replays_scope ON replays
    USING (in_customer(tenant_id, customer_id)) WITH CHECK (in_customer(tenant_id, customer_id));
GRANT SELECT, INSERT, UPDATE, DELETE ON replays TO pushrail_app;
