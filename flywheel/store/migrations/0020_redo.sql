-- Which transaction was the last, so that a start knows what the redo log has beside the database.
-- The id tells this database from every other; a backup of it has the same.
CREATE TABLE redo (database VARCHAR, number BIGINT);
INSERT INTO redo VALUES (gen_random_uuid()::VARCHAR, 0);
