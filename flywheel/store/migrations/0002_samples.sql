-- What is learned from and judged by: samples, golden generations, refusals, stored answers.

CREATE TABLE samples (
    id VARCHAR,
    text VARCHAR,
    intent VARCHAR,
    arguments VARCHAR,
    origin VARCHAR,
    split VARCHAR,
    must_pass BOOLEAN,
    family VARCHAR,
    slices VARCHAR,
    provenance VARCHAR,
    weight DOUBLE,
    bought_for VARCHAR,
    added_at TIMESTAMP
);

-- A golden sample belongs to one generation or to several. `bought`: its label came after the
-- generation had answered a query, so it may not be asked the same question again.
CREATE TABLE golden_rows (
    generation INTEGER,
    sample VARCHAR,
    bought BOOLEAN,
    bought_for VARCHAR,
    added_at TIMESTAMP
);

CREATE TABLE generations (
    number INTEGER,
    seal VARCHAR,
    row_count INTEGER,
    opened_at TIMESTAMP
);

-- The ledger: a query is written here, and committed, before its answer is read.
CREATE TABLE golden_queries (
    number BIGINT,
    generation INTEGER,
    turn VARCHAR,
    challenger VARCHAR,
    gate VARCHAR,
    asked_at TIMESTAMP
);

-- Answers of a production model that cannot be run again.
CREATE TABLE sample_answers (
    adapter VARCHAR,
    sample VARCHAR,
    intent VARCHAR,
    arguments VARCHAR
);

CREATE TABLE refusals (
    turn VARCHAR,
    reason VARCHAR,
    detail VARCHAR,
    refused_at TIMESTAMP,
    id VARCHAR,
    text VARCHAR,
    intent VARCHAR,
    arguments VARCHAR,
    origin VARCHAR,
    split VARCHAR,
    must_pass BOOLEAN,
    family VARCHAR,
    slices VARCHAR,
    provenance VARCHAR,
    weight DOUBLE
);

-- Every answer of the teacher that was paid for, kept before it is used.
CREATE TABLE teacher_answers (
    key VARCHAR,
    request VARCHAR,
    response VARCHAR,
    usd DOUBLE,
    input_tokens BIGINT,
    output_tokens BIGINT
);
