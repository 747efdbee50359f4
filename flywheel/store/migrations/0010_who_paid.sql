-- The turn that bought an answer: a turn that was interrupted still knows all that it paid.
ALTER TABLE teacher_answers ADD COLUMN turn VARCHAR;
