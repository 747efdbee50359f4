-- What makes the questions of every turn cheap at tens of millions of predictions.

-- Predictions by day, appended to in the transaction of the predictions and summed when read;
-- now and then merged into one row for each key.
CREATE TABLE daily (
    day TIMESTAMP,
    intent VARCHAR,
    adapter VARCHAR,
    slices VARCHAR,
    predictions BIGINT
);
INSERT INTO daily
SELECT date_trunc('day', ts), intent, adapter, slices, count(*) FROM predictions GROUP BY ALL;

-- Predictions that were judged more than once: the few for which the latest has to be found.
CREATE TABLE rejudged (prediction_id VARCHAR);
INSERT INTO rejudged
SELECT prediction_id FROM judged GROUP BY prediction_id HAVING count(*) > 1;

CREATE OR REPLACE MACRO labelled_since(since) AS TABLE
    WITH latest AS (
        SELECT * FROM judged AS j
        WHERE feedback_ts >= since
            AND NOT EXISTS (SELECT 1 FROM rejudged AS r WHERE r.prediction_id = j.prediction_id)
        UNION ALL
        SELECT * FROM (
            SELECT * FROM judged AS j
            WHERE feedback_ts >= since
                AND EXISTS (SELECT 1 FROM rejudged AS r WHERE r.prediction_id = j.prediction_id)
            QUALIFY row_number() OVER (
                PARTITION BY prediction_id ORDER BY feedback_ts DESC, feedback_id DESC
            ) = 1
        )
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
