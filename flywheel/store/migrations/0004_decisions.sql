-- Adapters, champions, what evaluation found, and what was decided on it.

CREATE TABLE adapters (
    number BIGINT,
    id VARCHAR,
    base VARCHAR,
    recipe VARCHAR,
    dataset VARCHAR,
    parent VARCHAR,
    created_at TIMESTAMP,
    state VARCHAR,
    metrics VARCHAR
);

-- The last row is the champion; NULL: nothing is served.
CREATE TABLE champions (
    number BIGINT,
    adapter VARCHAR,
    decision VARCHAR,
    since TIMESTAMP
);

CREATE TABLE decisions (
    number BIGINT,
    id VARCHAR,
    turn VARCHAR,
    challenger VARCHAR,
    champion VARCHAR,
    verdict VARCHAR,
    decided_at TIMESTAMP,
    gates VARCHAR,
    intents VARCHAR,
    rests_on VARCHAR
);

-- The last event of a decision holds its status; nothing is overwritten.
CREATE TABLE decision_events (
    number BIGINT,
    decision VARCHAR,
    what VARCHAR,
    status VARCHAR,
    actor VARCHAR,
    because VARCHAR,
    happened_at TIMESTAMP
);

-- A turn judged again after labels were bought has a further revision; the last one counts.
CREATE TABLE reports (
    turn VARCHAR,
    revision INTEGER,
    champion VARCHAR,
    challenger VARCHAR
);

CREATE TABLE outcomes (
    turn VARCHAR,
    revision INTEGER,
    position BIGINT,
    sample VARCHAR,
    split VARCHAR,
    intent VARCHAR,
    champion_intent VARCHAR,
    challenger_intent VARCHAR,
    champion_correct BOOLEAN,
    challenger_correct BOOLEAN,
    champion_confidence DOUBLE,
    challenger_confidence DOUBLE,
    family VARCHAR,
    must_pass BOOLEAN,
    bought BOOLEAN,
    slices VARCHAR
);
