-- What the champion answers today to labelled texts of production. By prediction, never by text, so
-- that an erasure removes them. `learned`: it learned the text or one near it, and its answer says
-- nothing; else `intent` is as the adapter names it. `arguments` is a JSON object.
CREATE TABLE champion_answers (
    adapter VARCHAR,
    prediction_id VARCHAR,
    learned BOOLEAN,
    intent VARCHAR,
    arguments VARCHAR
);
