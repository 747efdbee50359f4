-- The decision log as a chain, and what each decision rested on.

-- `hash` covers `previous`, the event and, in a decision's first event, the decision itself.
-- NULL: written before there was a chain; the first chained event covers those before it.
ALTER TABLE decision_events ADD COLUMN previous VARCHAR;
ALTER TABLE decision_events ADD COLUMN hash VARCHAR;

-- What the gates were shown beside the outcomes of (turn, revision), and by which rules they and
-- the promotion judged: enough to judge again and come to the same bytes.
CREATE TABLE decision_grounds (
    decision VARCHAR,
    turn VARCHAR,
    revision INTEGER,
    grounds VARCHAR
);

-- A fresh sample is asked once: the turn that asked it is written before the answer is read.
CREATE TABLE fresh_uses (
    sample VARCHAR,
    turn VARCHAR,
    challenger VARCHAR,
    used_at TIMESTAMP
);

-- A golden label that a person doubts; the last word on a sample counts.
CREATE TABLE disputes (
    number BIGINT,
    sample VARCHAR,
    disputed BOOLEAN,
    actor VARCHAR,
    because VARCHAR,
    said_at TIMESTAMP
);

-- How far each hook was told: the number of the last decision event it took.
CREATE TABLE hook_cursors (
    hook VARCHAR,
    number BIGINT
);
