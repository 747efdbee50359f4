-- Who may, and what may change after it was seen.

-- SHA-256 of each file of an adapter, by name, as JSON. '{}': of an earlier version, not known yet.
ALTER TABLE adapters ADD COLUMN files VARCHAR DEFAULT '{}';

-- The golden generation from which a dispute counts: the one it was made in, or the next one where
-- the rows had been asked already. NULL: of an earlier version, it counts always.
ALTER TABLE disputes ADD COLUMN from_generation BIGINT;

-- An event of `decision_events` whose `decision` is NULL is of no decision: what somebody did.
