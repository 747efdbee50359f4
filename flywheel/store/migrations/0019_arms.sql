-- Promotions that are watched: the new champion answers a share of keys beside the earlier one.

-- The arm that gave an answer: champion (the new one), earlier, or '' while nothing was watched.
ALTER TABLE predictions ADD COLUMN arm VARCHAR DEFAULT '';

-- `proposal` is the rollback that was proposed to a person. `outcome` is NULL while it is watched;
-- then harm, no_harm, unproven, kept or replaced. `because` is in words, without any text of a user.
CREATE TABLE watches (
    number BIGINT,
    decision VARCHAR,
    champion VARCHAR,
    earlier VARCHAR,
    share DOUBLE,
    salt VARCHAR,
    began_at TIMESTAMP,
    proposal VARCHAR,
    ended_at TIMESTAMP,
    outcome VARCHAR,
    because VARCHAR
);
