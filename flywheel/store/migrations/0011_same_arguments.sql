-- Whether the rater found other arguments right, decided by `content.same_arguments` when feedback
-- meets its prediction. Until now statements compared the text, for which "Seven" is not "seven".

-- The right intent with wrong arguments; filled by `judging.judge_arguments_again`.
ALTER TABLE judged ADD COLUMN arguments_wrong BOOLEAN;
ALTER TABLE rejudged ADD COLUMN arguments_wrong BOOLEAN;

DROP MACRO arguments_wrong;

CREATE OR REPLACE MACRO answered_right(verdict, predicted, intent, arguments_wrong) AS
    coalesce(truth_of(verdict, predicted, intent) = predicted, false) AND NOT arguments_wrong;

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
        arguments_wrong,
        answered_right(verdict, predicted, intent, arguments_wrong) AS correct,
        confidence, adapter, slices, rater, rater_kind, feedback_ts
    FROM latest;

-- Counted anew from `judged`, which keeps every label.
DELETE FROM daily_labels;
