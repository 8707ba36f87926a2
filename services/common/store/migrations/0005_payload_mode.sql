-- What the audit shows of the payloads of a customer's destinations that don't say so themselves; NULL says nothing.
ALTER TABLE customers ADD COLUMN payload_mode json;

-- Until now nobody could tell "full" from nothing said, so it counts as nothing said: a customer who asks for privacy
-- gets it everywhere. As text, because a document keeps its bytes.
SELECT set_config('pushrail.scope', 'system', true);
UPDATE destinations
SET document = ('{"payloadModeInherited":true,' || substr(document::text, 2))::json
WHERE coalesce(document ->> 'payloadMode', 'full') = 'full';
