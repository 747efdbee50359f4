-- Old events that left the tables: one Parquet file a day and kind in archive/ beside the database.
CREATE TABLE archives (
    number BIGINT,
    kind VARCHAR,        -- predictions, feedback
    day TIMESTAMP,
    file VARCHAR,        -- its name; a rewritten file has a higher revision in it
    row_count BIGINT,
    labelled BIGINT,     -- of feedback: rows that are in `judged`, which stays
    archived_at TIMESTAMP
);
