-- What adapters answered in evaluation, and what a server answered to the same texts.

-- By sample, never by text, so that an erasure removes them. `arguments` is a JSON object;
-- `intent` is as the adapter names it.
CREATE TABLE evaluated_answers (
    adapter VARCHAR,
    sample VARCHAR,
    intent VARCHAR,
    arguments VARCHAR,
    confidence DOUBLE
);

-- One round of questions. `decision` is NULL where nothing was to be decided: after a start, a
-- switch, an hour. `refused` is why the server could not load the adapter; then nothing was asked.
CREATE TABLE parity_checks (
    number BIGINT,
    adapter VARCHAR,
    decision VARCHAR,
    engine VARCHAR,
    instance VARCHAR,
    asked BIGINT,
    differing BIGINT,
    refused VARCHAR,
    checked_at TIMESTAMP
);

-- The first answers of a round that differ. The served ones are NULL where there was no answer.
CREATE TABLE parity_differences (
    number BIGINT,
    position BIGINT,
    sample VARCHAR,
    what VARCHAR,
    evaluated_intent VARCHAR,
    evaluated_arguments VARCHAR,
    evaluated_confidence DOUBLE,
    served_adapter VARCHAR,
    served_intent VARCHAR,
    served_arguments VARCHAR,
    served_confidence DOUBLE
);
