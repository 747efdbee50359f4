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

-- Under which rule the scores of a name were counted last; another rule counts them anew.
CREATE TABLE score_rules (source VARCHAR, name VARCHAR, rule VARCHAR);

-- Further names of predictions, and which of the records of one exchange counts.
CREATE TABLE aliases (alias VARCHAR, prediction_id VARCHAR);
CREATE TABLE exchanges (
    exchange VARCHAR,
    prediction_id VARCHAR,
    precedence BIGINT,
    ts TIMESTAMP
);
CREATE TABLE superseded (prediction_id VARCHAR);

-- A verdict on an answer with several calls is a row for each call: part 1, 2 …; otherwise part 0.
ALTER TABLE judged ADD COLUMN part BIGINT DEFAULT 0;
ALTER TABLE rejudged ADD COLUMN part BIGINT DEFAULT 0;

-- Predictions that count: of the records of one exchange only the best.
CREATE MACRO standing_predictions() AS TABLE
    SELECT p.* FROM predictions AS p
    ANTI JOIN superseded AS s ON s.prediction_id = p.id;

-- The intents that an answer called, each once.
CREATE MACRO intents_of(intent, calls) AS
    CASE WHEN coalesce(calls, '[]') = '[]' THEN [intent]
    ELSE list_distinct(json_extract_string(calls, '$[*].intent')) END;

CREATE OR REPLACE MACRO labelled_since(since) AS TABLE
    WITH latest AS (
        SELECT j.* FROM judged AS j ANTI JOIN rejudged AS r ON r.prediction_id = j.prediction_id
        WHERE feedback_ts >= since
        UNION ALL
        SELECT * FROM rejudged
        WHERE feedback_ts >= since
        QUALIFY rank() OVER (
            PARTITION BY prediction_id ORDER BY feedback_ts DESC, feedback_id DESC
        ) = 1
    )
    SELECT
        prediction_id, ts, text, predicted, predicted_arguments,
        truth_of(verdict, predicted, intent) AS truth,
        CASE WHEN verdict = 'correct' THEN predicted_arguments ELSE arguments END
            AS truth_arguments,
        arguments_wrong,
        answered_right(verdict, predicted, intent, arguments_wrong) AS correct,
        confidence, adapter, slices, rater, rater_kind, feedback_ts, part
    FROM latest;

-- Lines that were not taken: named, with the format they were read as. `raw` is base64 where the
-- bytes are no UTF-8, so that they can be read again as they came.
ALTER TABLE rejected ADD COLUMN id VARCHAR;
ALTER TABLE rejected ADD COLUMN format VARCHAR DEFAULT '';
ALTER TABLE rejected ADD COLUMN encoding VARCHAR DEFAULT '';
UPDATE rejected SET id = 'r-' || substr(md5(concat_ws(chr(31), kind, raw, field, why)), 1, 12);
