-- Labels by day, so that the health of the intents is read from sums whatever their number.

CREATE MACRO truth_of(verdict, predicted, intent) AS
    CASE WHEN verdict = 'correct' THEN predicted ELSE intent END;

-- The right intent with wrong arguments.
CREATE MACRO arguments_wrong(verdict, predicted, intent, predicted_arguments, arguments) AS
    coalesce(
        verdict <> 'correct' AND intent = predicted
        AND (verdict = 'incorrect' OR coalesce(arguments <> predicted_arguments, false)),
        false
    );

CREATE MACRO answered_right(verdict, predicted, intent, predicted_arguments, arguments) AS
    coalesce(truth_of(verdict, predicted, intent) = predicted, false)
    AND NOT arguments_wrong(verdict, predicted, intent, predicted_arguments, arguments);

-- Every row of `judged`, by the day of the feedback; appended to and merged as `daily`.
CREATE TABLE daily_labels (
    day TIMESTAMP,
    predicted VARCHAR,
    truth VARCHAR,
    correct BOOLEAN,
    adapter VARCHAR,
    slices VARCHAR,
    labels BIGINT
);
INSERT INTO daily_labels
SELECT date_trunc('day', feedback_ts), predicted, truth_of(verdict, predicted, intent),
    answered_right(verdict, predicted, intent, predicted_arguments, arguments),
    adapter, slices, count(*)
FROM judged GROUP BY ALL;

-- All rows of `judged` of the predictions that were judged more than once, so that what the sums
-- count too often is found without a look at the others.
CREATE TEMP TABLE again AS SELECT prediction_id FROM rejudged;
DROP TABLE rejudged;
CREATE TABLE rejudged AS
SELECT * FROM judged WHERE prediction_id IN (SELECT prediction_id FROM again);
DROP TABLE again;

CREATE OR REPLACE MACRO labelled_since(since) AS TABLE
    WITH latest AS (
        SELECT j.* FROM judged AS j ANTI JOIN rejudged AS r ON r.prediction_id = j.prediction_id
        WHERE feedback_ts >= since
        UNION ALL
        SELECT * FROM rejudged
        WHERE feedback_ts >= since
        QUALIFY row_number() OVER (
            PARTITION BY prediction_id ORDER BY feedback_ts DESC, feedback_id DESC
        ) = 1
    )
    SELECT
        prediction_id, ts, text, predicted, predicted_arguments,
        truth_of(verdict, predicted, intent) AS truth,
        CASE WHEN verdict = 'correct' THEN predicted_arguments ELSE arguments END
            AS truth_arguments,
        arguments_wrong(verdict, predicted, intent, predicted_arguments, arguments)
            AS arguments_wrong,
        answered_right(verdict, predicted, intent, predicted_arguments, arguments) AS correct,
        confidence, adapter, slices, rater, rater_kind, feedback_ts
    FROM latest;
