-- Turns of the wheel, their steps, and the slots of the schedule that were served.

CREATE TABLE turns (
    number BIGINT,
    id VARCHAR,
    state VARCHAR,
    trigger VARCHAR,
    opened_at TIMESTAMP,
    closed_at TIMESTAMP,
    cost_usd DOUBLE,
    decision VARCHAR,
    error VARCHAR,
    cursor VARCHAR
);

CREATE TABLE steps (
    turn VARCHAR,
    position INTEGER,
    name VARCHAR,
    state VARCHAR,
    started_at TIMESTAMP,
    seconds DOUBLE,
    detail VARCHAR
);

CREATE TABLE schedule_slots (
    schedule VARCHAR,
    slot TIMESTAMP
);
