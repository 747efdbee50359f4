-- What production sends: predictions and the feedback on them.
--
-- Rules that hold in every migration:
--   * Times are TIMESTAMP in UTC; the Python side attaches the zone (fetching TIMESTAMPTZ needs pytz).
--   * JSON is VARCHAR with sorted keys and no spaces, so that equal values are equal text.
--   * No PRIMARY KEY, UNIQUE or index anywhere. On event tables a key makes inserts 8 times
--     slower; on any table it blocks rename, drop column and type change. There is one writer,
--     which inserts only what is not there yet.
--   * Event tables are only ever appended to. Control tables of a few rows may be updated.

CREATE TABLE predictions (
    id VARCHAR,
    ts TIMESTAMP,
    text VARCHAR,
    intent VARCHAR,
    arguments VARCHAR,
    confidence DOUBLE,
    adapter VARCHAR,
    latency_ms DOUBLE,
    slices VARCHAR
);

CREATE TABLE feedback (
    id VARCHAR,
    prediction_id VARCHAR,
    ts TIMESTAMP,
    verdict VARCHAR,
    intent VARCHAR,
    arguments VARCHAR,
    rater VARCHAR,
    rater_kind VARCHAR
);

-- A feedback together with its prediction, written when the second of the two arrives, so that
-- the questions asked every turn read this small table and not all predictions.
CREATE TABLE judged (
    feedback_id VARCHAR,
    prediction_id VARCHAR,
    ts TIMESTAMP,
    text VARCHAR,
    predicted VARCHAR,
    predicted_arguments VARCHAR,
    confidence DOUBLE,
    adapter VARCHAR,
    slices VARCHAR,
    feedback_ts TIMESTAMP,
    verdict VARCHAR,
    intent VARCHAR,
    arguments VARCHAR,
    rater VARCHAR,
    rater_kind VARCHAR
);

-- One row per prediction whose latest feedback, by (ts, id), is at or after `since`.
-- The filter comes before the choice on purpose: the latest of all is the latest of the recent.
CREATE MACRO labelled_since(since) AS TABLE
    WITH latest AS (
        SELECT * FROM judged
        WHERE feedback_ts >= since
        QUALIFY row_number() OVER (
            PARTITION BY prediction_id ORDER BY feedback_ts DESC, feedback_id DESC
        ) = 1
    ),
    named AS (
        SELECT *,
            CASE WHEN verdict = 'correct' THEN predicted ELSE intent END AS truth,
            coalesce(
                verdict <> 'correct' AND intent = predicted
                AND (verdict = 'incorrect' OR coalesce(arguments <> predicted_arguments, false)),
                false
            ) AS arguments_wrong
        FROM latest
    )
    SELECT
        prediction_id, ts, text, predicted, predicted_arguments, truth,
        CASE WHEN verdict = 'correct' THEN predicted_arguments ELSE arguments END
            AS truth_arguments,
        arguments_wrong,
        coalesce(truth = predicted AND NOT arguments_wrong, false) AS correct,
        confidence, adapter, slices, rater, rater_kind, feedback_ts
    FROM named;

CREATE VIEW labelled AS SELECT * FROM labelled_since('0001-01-01'::TIMESTAMP);

CREATE TABLE rejected (
    kind VARCHAR,
    line BIGINT,
    raw VARCHAR,
    field VARCHAR,
    why VARCHAR,
    happened_at TIMESTAMP
);

-- How far each source was read: one row a source, replaced in the transaction of its events.
CREATE TABLE source_cursors (
    name VARCHAR,      -- as in [sources.NAME]
    cursor VARCHAR,    -- the source's own words
    moved_at TIMESTAMP
);

-- One row, counted up by the write probe.
CREATE TABLE heartbeat (beats BIGINT);
INSERT INTO heartbeat VALUES (0);
