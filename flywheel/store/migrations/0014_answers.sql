-- What the inference process knows of an answer that it logs.

-- US dollars of the answers that a logged one stands for; NULL: not known.
ALTER TABLE predictions ADD COLUMN cost_usd DOUBLE;
-- How many answers it stands for: not every answer is logged. Sums by day count these.
ALTER TABLE predictions ADD COLUMN answers BIGINT DEFAULT 1;

-- The answers in a file of predictions. NULL: as many as rows.
ALTER TABLE archives ADD COLUMN answers BIGINT;
