-- How far the score of an evaluated text lies above the threshold of `none`: parity asks those that
-- lie nearest. NULL of answers of an earlier version, and where no threshold is applied.
ALTER TABLE evaluated_answers ADD COLUMN margin DOUBLE;
