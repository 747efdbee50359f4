-- Golden rows that judge no more, in whatever generation, and are learned: by which rule, and as
-- which training sample. Written in the transaction that adds that sample.
CREATE TABLE retired_rows (
    generation INTEGER,   -- that it left
    sample VARCHAR,       -- the golden sample
    learned_as VARCHAR,   -- the training sample made of it
    rule VARCHAR,         -- share, near, judged, bought, worn
    turn VARCHAR,         -- that opened with it; NULL: retired when it was imported
    retired_at TIMESTAMP
);
