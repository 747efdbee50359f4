-- What foreign tools know of an answer: several calls, further ids, whose it is, and scores.

ALTER TABLE predictions ADD COLUMN calls VARCHAR DEFAULT '[]';
ALTER TABLE predictions ADD COLUMN aliases VARCHAR DEFAULT '[]';
ALTER TABLE predictions ADD COLUMN session VARCHAR DEFAULT '';
ALTER TABLE predictions ADD COLUMN rater VARCHAR DEFAULT '';
ALTER TABLE predictions ADD COLUMN tools VARCHAR DEFAULT '';
ALTER TABLE predictions ADD COLUMN malformed BOOLEAN DEFAULT 'false';
ALTER TABLE predictions ADD COLUMN exchange VARCHAR DEFAULT '';
ALTER TABLE predictions ADD COLUMN precedence BIGINT DEFAULT 0;

ALTER TABLE feedback ADD COLUMN calls VARCHAR DEFAULT '[]';
ALTER TABLE feedback ADD COLUMN score VARCHAR DEFAULT '';

-- What tools said of predictions, as seen. Those that count are in `feedback` under the same id.
CREATE TABLE scores (
    id VARCHAR,
    prediction_id VARCHAR,
    ts TIMESTAMP,
    source VARCHAR,      -- the format it came in
    name VARCHAR,
    kind VARCHAR,        -- flag, number, label, text, correction
    value DOUBLE,
    label VARCHAR,
    calls VARCHAR,
    rater VARCHAR,
    rater_kind VARCHAR,
    person BOOLEAN
);
