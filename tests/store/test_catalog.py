"""A database whose tables, views or macros somebody changed is not opened."""

import contextlib
import shutil

import duckdb
import pytest

from flywheel.store import StoreFailed, catalog, open_store, schema

CHANGED = {
    "CREATE OR REPLACE VIEW labelled AS SELECT * FROM labelled_since(now()::TIMESTAMP)": (
        "the view labelled was changed"
    ),
    "CREATE OR REPLACE MACRO standing_predictions() AS TABLE SELECT * FROM predictions LIMIT 0": (
        "the macro standing_predictions was changed"
    ),
    "CREATE OR REPLACE MACRO truth_of(verdict, predicted, intent) AS predicted": (
        "the macro truth_of was changed"
    ),
    "CREATE OR REPLACE MACRO truth_of(verdict, predicted, intent) AS CASE WHEN verdict = 'correct' "
    "THEN predicted ELSE intent END, (verdict) AS verdict": "the macro truth_of was changed",
    "CREATE MACRO date_trunc(part, day) AS day": "the macro date_trunc is not flywheel's",
    "CREATE SCHEMA own; CREATE MACRO own.f(a) AS a": "the macro own.f is not flywheel's",
    "CREATE TYPE mood AS ENUM ('good')": "the type mood is not flywheel's",
    "CREATE UNIQUE INDEX one ON feedback (id)": "the index one is not flywheel's",
    "ALTER TABLE predictions ALTER malformed SET DEFAULT true": "the table predictions was changed",
    "ALTER TABLE predictions ALTER rater DROP DEFAULT": "the table predictions was changed",
    "ALTER TABLE predictions ALTER confidence TYPE FLOAT": "the table predictions was changed",
    "ALTER TABLE predictions ADD COLUMN mine INTEGER": "the table predictions was changed",
    "ALTER TABLE predictions RENAME latency_ms TO ms": "the table predictions was changed",
    "ALTER TABLE champions ALTER adapter SET NOT NULL": "the table champions was changed",
    "DROP TABLE disputes": "the table disputes is missing",
    "DROP VIEW labels_standing": "the view labels_standing is missing",
    "DROP MACRO intents_of": "the macro intents_of is missing",
    "DROP TABLE superseded; CREATE VIEW superseded AS SELECT id AS prediction_id FROM feedback": (
        "the table superseded is missing"
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    file = tmp_path_factory.mktemp("made") / "flywheel.duckdb"
    open_store(file).close()
    return file


@pytest.fixture
def file(made, tmp_path):
    return shutil.copy(made, tmp_path / "flywheel.duckdb")


def edit(file, sql):
    with contextlib.closing(duckdb.connect(str(file))) as con:
        con.execute(sql)


@pytest.mark.parametrize(("sql", "named"), CHANGED.items())
def test_a_database_with_a_changed_object_is_refused_and_the_object_named(file, sql, named):
    edit(file, sql)
    with pytest.raises(StoreFailed) as refused:
        open_store(file)
    assert refused.value.message == f"the database {file} is not as flywheel makes it: {named}"
    assert "flywheel db restore" in refused.value.hint


def test_a_refusal_names_five_changes_and_counts_the_others(file):
    edit(file, ";".join(f"CREATE MACRO mine_{number}() AS 1" for number in range(7)))
    with pytest.raises(StoreFailed, match=r"mine_4 is not flywheel's; and 2 more$"):
        open_store(file)


def test_a_table_and_a_view_of_ones_own_are_let_be(file):
    edit(file, "CREATE TABLE notes (text VARCHAR); CREATE VIEW said AS SELECT text FROM notes")
    store = open_store(file)
    with contextlib.closing(store), store.read() as con:
        assert [str(one) for one in catalog.differences(con)] == [
            "the table notes is not flywheel's",
            "the view said is not flywheel's",
        ]


def test_what_was_changed_is_refused_before_a_migration_reads_by_it(tmp_path):
    file = tmp_path / "old.duckdb"
    with contextlib.closing(duckdb.connect(str(file))) as con:
        schema.migrate(con, schema.shipped()[:-1])
        catalog.sign(con)
    edit(file, "CREATE OR REPLACE MACRO truth_of(verdict, predicted, intent) AS predicted")
    with pytest.raises(StoreFailed, match="the macro truth_of was changed"):
        open_store(file)
    with contextlib.closing(duckdb.connect(str(file))) as con:
        assert schema.version(con) == len(schema.shipped()) - 1


@pytest.mark.parametrize("version", ["", "COMMENT ON TABLE schema_version IS '1.4.0'"])
def test_views_and_macros_that_another_duckdb_wrote_are_made_anew(file, version):
    version = version or "COMMENT ON TABLE schema_version IS NULL"
    edit(file, f"{version}; CREATE OR REPLACE MACRO truth_of(verdict, predicted, intent) AS 'x'")
    edit(file, "CREATE OR REPLACE VIEW labelled AS SELECT 1 AS one")
    store = open_store(file)
    with contextlib.closing(store), store.read() as con:
        assert catalog.differences(con) == []
        assert con.execute("SELECT truth_of('correct', 'a', 'b')").fetchone() == ("a",)
    edit(file, "CREATE OR REPLACE VIEW labelled AS SELECT 1 AS one")
    with pytest.raises(StoreFailed, match="the view labelled was changed"):  # it is signed now
        open_store(file)
