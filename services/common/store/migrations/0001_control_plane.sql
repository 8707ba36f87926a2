-- The control plane's tables.
--
-- Every statement of the service runs as the role pushrail_app, to which row-level security applies, in a transaction that
-- has said whose rows it is about (pushrail.scope and what belongs to it, see src/scope.rs). A statement in a transaction
-- that has not said so sees no row and can write none.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pushrail_app') THEN
        CREATE ROLE pushrail_app NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    -- Another database of the same cluster is being migrated at this moment.
    NULL;
END $$;

DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'pushrail_app', 'SET') THEN
        EXECUTE format('GRANT pushrail_app TO %I', current_user);
    END IF;
END $$;

GRANT USAGE ON SCHEMA public TO pushrail_app;

-- What a transaction has said of itself. Absent and empty are the same: nothing.
CREATE FUNCTION scope_kind() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('pushrail.scope', true), '');
CREATE FUNCTION scope_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('pushrail.tenant_id', true), '');
CREATE FUNCTION scope_customer() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('pushrail.customer_id', true), '')::uuid;
-- What a caller has presented and is looked up by: the digest of a key, the id of a session.
CREATE FUNCTION scope_presented() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('pushrail.presented', true), '');

-- May the transaction see rows of a tenant as a whole?
CREATE FUNCTION in_tenant(tenant text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE scope_kind()
        WHEN 'system' THEN true
        WHEN 'tenant' THEN tenant = scope_tenant()
        ELSE false
    END;
-- May it see rows of one customer?
CREATE FUNCTION in_customer(tenant text, customer uuid) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE scope_kind()
        WHEN 'system' THEN true
        WHEN 'tenant' THEN tenant = scope_tenant()
        WHEN 'customer' THEN tenant = scope_tenant() AND customer = scope_customer()
        ELSE false
    END;
-- RFC 3339 in UTC with microseconds, as the API shows every time.
CREATE FUNCTION rfc3339(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

CREATE TABLE tenants (
    tenant_id text PRIMARY KEY,
    name text NOT NULL,
    -- Origins that the portal is embedded in, for CORS.
    allowed_origins text[] NOT NULL DEFAULT '{}',
    -- How long the old secret of a webhook signs beside the new one.
    rotation_overlap_seconds integer NOT NULL DEFAULT 86400,
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL DEFAULT '',
    -- Of the whole key, hex. The key itself is nowhere.
    sha256 text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant_id, created_at, key_id);

CREATE TABLE customers (
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    customer_id uuid NOT NULL,
    external_id text NOT NULL,
    name text NOT NULL DEFAULT '',
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, customer_id),
    UNIQUE (tenant_id, external_id)
);
CREATE INDEX customers_by_age ON customers (tenant_id, created_at, customer_id);

CREATE TABLE destinations (
    destination_id uuid PRIMARY KEY,
    tenant_id text NOT NULL,
    customer_id uuid NOT NULL,
    kind text NOT NULL,
    -- What router and sinks get, secrets sealed. json and not jsonb: a customer's configuration keeps its own order.
    document json NOT NULL,
    -- Why it is disabled, where it is.
    state_reason text,
    -- Rises with every change; the ETag.
    revision bigint NOT NULL DEFAULT 1,
    -- When secrets that are being replaced stop signing.
    rotation_ends_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- The customer is one of the same tenant, whatever the service believes.
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers ON DELETE CASCADE
);
CREATE INDEX destinations_of_customer ON destinations (tenant_id, customer_id, created_at, destination_id);
CREATE INDEX destinations_rotating ON destinations (rotation_ends_at) WHERE rotation_ends_at IS NOT NULL;

CREATE TABLE sessions (
    session_id uuid PRIMARY KEY,
    tenant_id text NOT NULL,
    customer_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers ON DELETE CASCADE
);
CREATE INDEX sessions_of_customer ON sessions (tenant_id, customer_id, created_at, session_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE event_types (
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    group_name text NOT NULL DEFAULT '',
    schema json,
    example json,
    deprecated boolean NOT NULL DEFAULT false,
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

-- What has been decided and not yet told to Kafka: written in the transaction that decided it, removed when Kafka has
-- acknowledged it.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key text NOT NULL,
    -- NULL is a tombstone.
    value bytea,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Whoever may put a letter may not read any, so its id comes from here.
CREATE FUNCTION put_letter(topic text, key text, value bytea) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    letter bigint := nextval(pg_get_serial_sequence('outbox', 'id'));
BEGIN
    INSERT INTO outbox (id, topic, key, value) OVERRIDING SYSTEM VALUE VALUES (letter, topic, key, value);
    RETURN letter;
END $$;

-- Who did what. One chain a tenant, and one, '', of the operator: each row's hash covers the hash before it.
CREATE TABLE audit_trail (
    chain text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    action text NOT NULL,
    target_kind text NOT NULL,
    target_id text NOT NULL,
    customer_id uuid,
    -- Before and after as far as they differ, without secrets.
    before json,
    after json,
    source text NOT NULL DEFAULT '',
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (chain, seq)
);
CREATE INDEX audit_trail_by_time ON audit_trail (chain, at);

-- The end of each chain. Locked by whoever adds to it, so that a chain has one order.
CREATE TABLE audit_heads (
    chain text PRIMARY KEY,
    seq bigint NOT NULL,
    hash bytea NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_trail_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_trail
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Answers to requests that carried an Idempotency-Key. Sealed: some show a secret once.
CREATE TABLE idempotency (
    -- Whose key it is: the operator, a tenant or one customer of it.
    owner text NOT NULL,
    key text NOT NULL,
    -- Of method, path and body: the same key for another request is an error.
    request_sha256 text NOT NULL,
    -- NULL while the request is being carried out.
    status smallint,
    key_ring_id text,
    answer text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE kafka_credentials (
    user_name text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL DEFAULT '',
    write_direct boolean NOT NULL,
    read_audit boolean NOT NULL,
    -- pending: Kafka may know of it; active: it does; revoked: it no longer does.
    state text NOT NULL DEFAULT 'pending',
    created_at timestamptz NOT NULL DEFAULT now(),
    rotated_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX kafka_credentials_of_tenant ON kafka_credentials (tenant_id, created_at, user_name);

-- Forced, so that not even the owner of the tables is exempt.
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE destinations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE event_types ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE audit_trail ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE kafka_credentials ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- A tenant sees itself; a customer sees what of its tenant concerns it, which is what the service shows of it.
CREATE POLICY tenants_scope ON tenants
    USING (in_tenant(tenant_id) OR (scope_kind() = 'customer' AND tenant_id = scope_tenant()))
    WITH CHECK (in_tenant(tenant_id));
-- Whoever presents a key may see the row of that key.
CREATE POLICY api_keys_scope ON api_keys
    USING (in_tenant(tenant_id)) WITH CHECK (in_tenant(tenant_id));
CREATE POLICY api_keys_presented ON api_keys FOR SELECT
    USING (scope_kind() = 'key' AND sha256 = scope_presented());
CREATE POLICY customers_scope ON customers
    USING (in_customer(tenant_id, customer_id)) WITH CHECK (in_customer(tenant_id, customer_id));
CREATE POLICY destinations_scope ON destinations
    USING (in_customer(tenant_id, customer_id)) WITH CHECK (in_customer(tenant_id, customer_id));
CREATE POLICY sessions_scope ON sessions
    USING (in_tenant(tenant_id)) WITH CHECK (in_tenant(tenant_id));
CREATE POLICY sessions_presented ON sessions FOR SELECT
    USING (scope_kind() = 'session' AND session_id::text = scope_presented());
-- A customer picks event types, and changes none.
CREATE POLICY event_types_scope ON event_types
    USING (in_tenant(tenant_id)) WITH CHECK (in_tenant(tenant_id));
CREATE POLICY event_types_picked ON event_types FOR SELECT
    USING (scope_kind() = 'customer' AND tenant_id = scope_tenant());
-- Everyone who decides something tells it; only the publisher reads what was told.
CREATE POLICY outbox_write ON outbox FOR INSERT WITH CHECK (scope_kind() IN ('system', 'tenant', 'customer'));
CREATE POLICY outbox_publish ON outbox
    USING (scope_kind() = 'system') WITH CHECK (scope_kind() = 'system');
-- A customer sees what was done to what is its own. Whoever acts adds to the chain, and of what is there needs its head alone.
CREATE POLICY audit_trail_read ON audit_trail FOR SELECT
    USING (in_tenant(chain) OR (scope_kind() = 'customer' AND chain = scope_tenant() AND customer_id = scope_customer()));
CREATE POLICY audit_trail_write ON audit_trail FOR INSERT
    WITH CHECK (in_tenant(chain) OR (scope_kind() = 'customer' AND chain = scope_tenant() AND customer_id = scope_customer()));
CREATE POLICY audit_heads_scope ON audit_heads
    USING (in_tenant(chain) OR (scope_kind() = 'customer' AND chain = scope_tenant()))
    WITH CHECK (in_tenant(chain) OR (scope_kind() = 'customer' AND chain = scope_tenant()));
CREATE POLICY idempotency_scope ON idempotency
    USING (scope_kind() = 'system' OR (scope_kind() IN ('tenant', 'customer') AND owner = scope_presented()))
    WITH CHECK (scope_kind() = 'system' OR (scope_kind() IN ('tenant', 'customer') AND owner = scope_presented()));
CREATE POLICY kafka_credentials_scope ON kafka_credentials
    USING (in_tenant(tenant_id)) WITH CHECK (in_tenant(tenant_id));

GRANT SELECT, INSERT, UPDATE, DELETE ON
    tenants, api_keys, customers, destinations, sessions, event_types, idempotency, kafka_credentials TO pushrail_app;
GRANT SELECT, INSERT, DELETE ON outbox TO pushrail_app;
GRANT USAGE ON SEQUENCE outbox_id_seq TO pushrail_app;
GRANT SELECT, INSERT ON audit_trail TO pushrail_app;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO pushrail_app;
