-- The delivery log: an index of audit.attempts and of the dead letters, for people who ask what became of an event.
--
-- Nothing of a delivery depends on it. It can be lost, and is read again from Kafka as far as Kafka still has it. Rows are
-- written by `pushrail log` together with how far it has read (log_offsets), so each record is in it once.
--
-- Everything about one event is in the partition of the day on which the event was accepted, whenever it was tried: what
-- is too old goes with its partition.

-- One row an attempt, and one for each reason why none was made.
CREATE TABLE attempts (
    received_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    next_attempt_at timestamptz,
    customer_id uuid NOT NULL,
    event_id uuid NOT NULL,
    -- The event's id where no destination was concerned.
    delivery_id uuid NOT NULL,
    destination_id uuid,
    attempt_id uuid NOT NULL,
    replay_id uuid,
    latency_us integer NOT NULL,
    attempt smallint NOT NULL,
    status_code smallint,
    -- Whether it is the last of its delivery, and so says how that stands.
    latest boolean NOT NULL,
    -- Of the payload that was sent, before it was cut off.
    payload_len integer,
    payload_cut boolean NOT NULL DEFAULT false,
    tenant_id text NOT NULL,
    event_type text NOT NULL,
    kind text,
    outcome text NOT NULL,
    class text NOT NULL,
    code text,
    origin text NOT NULL,
    payload_form text NOT NULL,
    traceparent text,
    error text,
    response_headers text,
    response_excerpt bytea,
    -- In one row of a delivery only: all of its attempts send the same.
    payload bytea
) PARTITION BY RANGE (received_at);

CREATE INDEX attempts_of_tenant ON attempts (tenant_id, received_at);
CREATE INDEX attempts_of_customer ON attempts (customer_id, received_at);
CREATE INDEX attempts_of_destination ON attempts (destination_id, received_at);
CREATE INDEX attempts_of_event ON attempts (event_id);
CREATE INDEX attempts_of_delivery ON attempts (delivery_id);
-- What is looked for when something is wrong, which is rare and must be found among what is not.
CREATE INDEX attempts_failed_of_tenant ON attempts (tenant_id, outcome, received_at) WHERE outcome <> 'delivered';
CREATE INDEX attempts_failed_of_customer ON attempts (customer_id, outcome, received_at) WHERE outcome <> 'delivered';
CREATE INDEX attempts_failed_of_destination ON attempts (destination_id, outcome, received_at) WHERE outcome <> 'delivered';

-- How far each partition of a topic has been read: the offset of the record that is next.
CREATE TABLE log_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- What lies on dlq.<kind>, by where it lies.
CREATE TABLE dead_letters (
    kind text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    tenant_id text NOT NULL,
    customer_id uuid NOT NULL,
    destination_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    received_at timestamptz NOT NULL,
    dead_at timestamptz NOT NULL,
    attempts smallint NOT NULL,
    -- permanent, transient, suspended, disabled, removed or poison.
    reason text NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    value_len integer NOT NULL,
    -- open, replayed or discarded; what has expired is gone.
    state text NOT NULL DEFAULT 'open',
    state_at timestamptz,
    replay_id uuid,
    PRIMARY KEY (kind, partition, "offset")
);
CREATE INDEX dead_letters_of_destination ON dead_letters (destination_id, state, dead_at);
CREATE INDEX dead_letters_of_tenant ON dead_letters (tenant_id, state, dead_at);
CREATE INDEX dead_letters_of_customer ON dead_letters (customer_id, state, dead_at);
CREATE INDEX dead_letters_by_age ON dead_letters (dead_at);
CREATE INDEX dead_letters_of_delivery ON dead_letters (delivery_id);

-- Attempts of a destination by the minute in which they started; after some days by the hour alone.
CREATE TABLE destination_minutes (
    destination_id uuid NOT NULL,
    at timestamptz NOT NULL,
    tenant_id text NOT NULL,
    customer_id uuid NOT NULL,
    delivered integer NOT NULL DEFAULT 0,
    retrying integer NOT NULL DEFAULT 0,
    dead integer NOT NULL DEFAULT 0,
    suspended integer NOT NULL DEFAULT 0,
    skipped integer NOT NULL DEFAULT 0,
    -- Attempts by latency: counts of the buckets that pushrail-store's log::latency declares.
    latency integer[] NOT NULL,
    PRIMARY KEY (destination_id, at)
);
CREATE INDEX destination_minutes_by_age ON destination_minutes (at);
-- Bucket by bucket.
CREATE FUNCTION log_added(a integer[], b integer[]) RETURNS integer[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT array_agg(coalesce(x, 0) + coalesce(y, 0) ORDER BY bucket)
            FROM unnest(a, b) WITH ORDINALITY AS t (x, y, bucket));
CREATE TABLE destination_hours (LIKE destination_minutes INCLUDING ALL);

-- How each destination is, by the rule in pushrail-log's health. No row: nothing has been tried.
CREATE TABLE destination_health (
    destination_id uuid PRIMARY KEY,
    tenant_id text NOT NULL,
    customer_id uuid NOT NULL,
    -- healthy, degraded, failing or suspended.
    health text NOT NULL,
    since timestamptz NOT NULL,
    reason text NOT NULL DEFAULT '',
    consecutive_failures integer NOT NULL DEFAULT 0,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_failure_code text,
    last_failure text,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX destination_health_of_tenant ON destination_health (tenant_id, health);

-- Partitions are made and dropped by whoever owns the tables.
CREATE FUNCTION log_day_name(day date) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN 'attempts_' || to_char(day, 'YYYYMMDD');
CREATE FUNCTION log_ensure_day(day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF scope_kind() <> 'system' THEN
        RAISE EXCEPTION 'only the service makes partitions' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF to_regclass(log_day_name(day)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- One at a time: two indexers meet the first record of a day together.
    PERFORM pg_advisory_xact_lock(hashtext('pushrail_log_days'));
    IF to_regclass(log_day_name(day)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE attempts INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', log_day_name(day));
    -- Text compresses where it stands: rows are read whole, and few of them.
    EXECUTE format('ALTER TABLE %I SET (toast_tuple_target = 512, autovacuum_vacuum_insert_scale_factor = 0.5)', log_day_name(day));
    EXECUTE format('ALTER TABLE %I ALTER payload SET STORAGE MAIN, ALTER response_headers SET STORAGE MAIN, '
        'ALTER response_excerpt SET STORAGE MAIN, ALTER error SET STORAGE MAIN', log_day_name(day));
    BEGIN
        EXECUTE format('ALTER TABLE %I ALTER payload SET COMPRESSION lz4, ALTER response_headers SET COMPRESSION lz4, '
            'ALTER response_excerpt SET COMPRESSION lz4', log_day_name(day));
    EXCEPTION WHEN feature_not_supported THEN
        NULL; -- A server that was built without lz4 compresses with what it has.
    END;
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', log_day_name(day));
    EXECUTE format('ALTER TABLE attempts ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', log_day_name(day),
        day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
END $$;

-- Drops the partitions of days before this one, and says how many.
CREATE FUNCTION log_drop_days_before(day date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    old record;
    dropped integer := 0;
BEGIN
    IF scope_kind() <> 'system' THEN
        RAISE EXCEPTION 'only the service drops partitions' USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR old IN
        SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
        WHERE inhparent = 'attempts'::regclass AND child.relname < log_day_name(day)
    LOOP
        EXECUTE format('DROP TABLE %I', old.relname);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
REVOKE ALL ON FUNCTION log_ensure_day(date), log_drop_days_before(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_ensure_day(date), log_drop_days_before(date) TO pushrail_app;

-- Some letters have headers: an object of texts.
ALTER TABLE outbox ADD COLUMN headers json;

-- How long a tenant's log is kept; NULL is as long as the operator keeps any.
ALTER TABLE tenants ADD COLUMN log_retention_days integer CHECK (log_retention_days > 0);

ALTER TABLE attempts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE log_offsets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE dead_letters ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE destination_minutes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE destination_hours ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE destination_health ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- As in_customer says it; but each question is asked once a statement and not once a row, of which there are millions here.
-- And as one CASE: of conditions joined by OR the planner believes that they leave next to nothing, and reads a month for a
-- page.
CREATE POLICY attempts_scope ON attempts
    USING (CASE (SELECT scope_kind())
        WHEN 'system' THEN true
        WHEN 'tenant' THEN tenant_id = (SELECT scope_tenant())
        WHEN 'customer' THEN tenant_id = (SELECT scope_tenant()) AND customer_id = (SELECT scope_customer())
        ELSE false
    END);
CREATE POLICY dead_letters_scope ON dead_letters
    USING (CASE (SELECT scope_kind())
        WHEN 'system' THEN true
        WHEN 'tenant' THEN tenant_id = (SELECT scope_tenant())
        WHEN 'customer' THEN tenant_id = (SELECT scope_tenant()) AND customer_id = (SELECT scope_customer())
        ELSE false
    END);
CREATE POLICY destination_minutes_scope ON destination_minutes
    USING (in_customer(tenant_id, customer_id)) WITH CHECK (scope_kind() = 'system');
CREATE POLICY destination_hours_scope ON destination_hours
    USING (in_customer(tenant_id, customer_id)) WITH CHECK (scope_kind() = 'system');
CREATE POLICY destination_health_scope ON destination_health
    USING (in_customer(tenant_id, customer_id)) WITH CHECK (scope_kind() = 'system');
CREATE POLICY log_offsets_scope ON log_offsets
    USING (scope_kind() = 'system') WITH CHECK (scope_kind() = 'system');

GRANT SELECT, INSERT, UPDATE, DELETE ON
    attempts, log_offsets, dead_letters, destination_minutes, destination_hours, destination_health TO pushrail_app;
