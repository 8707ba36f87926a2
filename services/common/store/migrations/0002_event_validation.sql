-- What a tenant's events are held to as they come in, and the catalogue told to ingest.

ALTER TABLE tenants ADD COLUMN event_validation text NOT NULL DEFAULT 'off'
    CONSTRAINT event_validation_known CHECK (event_validation IN ('off', 'schema', 'catalogue'));

-- The types that are there already were told to nobody. This transaction is about all of them, to which row-level security
-- holds the owner of the tables too; what it says of itself ends with it.
SELECT set_config('pushrail.scope', 'system', true);
INSERT INTO outbox (topic, key, value)
    SELECT 'config', 'event_type/' || tenant_id || '/' || name,
        convert_to(json_build_object('tenantId', tenant_id, 'name', name, 'schema', schema)::text, 'UTF8')
    FROM event_types ORDER BY tenant_id, name;
