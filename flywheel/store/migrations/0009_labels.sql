-- What people said when they were asked for a label, and what came of it.

-- `what`: label or skip; undone once the person took it back.
CREATE TABLE labels (
    number BIGINT,
    item VARCHAR,
    kind VARCHAR,
    prediction VARCHAR,
    predicted VARCHAR,        -- what production had answered, kept from whoever labels blind
    predicted_at TIMESTAMP,
    text VARCHAR,
    what VARCHAR,
    intent VARCHAR,
    arguments VARCHAR,
    person VARCHAR,
    resolves BOOLEAN,
    said_at TIMESTAMP
);

CREATE VIEW labels_standing AS SELECT * FROM labels WHERE what <> 'undone';

-- The last row of an item is what its label does now; NULL: nothing.
CREATE TABLE label_effects (
    number BIGINT,
    item VARCHAR,
    intent VARCHAR,
    sample VARCHAR,
    happened_at TIMESTAMP
);
