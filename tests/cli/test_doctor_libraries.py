"""`flywheel doctor` holds the installed libraries against the ranges of the package."""

from importlib import metadata

import pytest

from flywheel.cli.doctor import environment

OURS = [
    "duckdb<2.1,!=2.0.0,>=1.5.6",
    "torch<3,>=2.13",
    "transformers<6,>=5.23",
    "peft<0.22,>=0.21",
    'obstore<0.13,>=0.12; extra == "s3"',
    'pytest<10,>=9.2; extra == "dev"',
]
GOOD = {"duckdb": "1.5.6", "torch": "2.13.0+cpu", "transformers": "5.23.0", "peft": "0.21.2"}


@pytest.fixture
def with_versions(monkeypatch):
    def look(**changes):
        there = {**GOOD, **changes}

        def version(name):
            if not there.get(name):
                raise metadata.PackageNotFoundError(name)
            return there[name]

        monkeypatch.setattr(environment, "requires", lambda name: OURS)
        monkeypatch.setattr(environment, "version", version)
        (finding,) = environment.libraries()
        return finding

    return look


def test_versions_in_their_ranges_are_ok(with_versions):
    finding = with_versions(obstore="0.12.1", duckdb="2.0.1")
    assert (finding.level, finding.text[:31]) == ("ok", "duckdb 2.0.1, torch 2.13.0+cpu,")


@pytest.mark.parametrize("present", ["1.5.5", "2.0.0", "2.1.0", "3.0.0rc1"])
def test_a_version_that_fails_or_is_out_of_range_is_red(with_versions, present):
    finding = with_versions(duckdb=present)
    assert finding.level == "FAIL"
    assert finding.text == f"duckdb {present} is not in !=2.0.0,<2.1,>=1.5.6"
    assert finding.todo.endswith(" -m pip install 'duckdb!=2.0.0,<2.1,>=1.5.6'")


def test_every_wrong_one_is_named_in_one_line(with_versions):
    finding = with_versions(peft="0.22.0", transformers=None)
    assert finding.text == "transformers is not installed; peft 0.22.0 is not in <0.22,>=0.21"
    assert finding.todo.endswith(" -m pip install 'transformers<6,>=5.23' 'peft<0.22,>=0.21'")


def test_an_extra_counts_only_where_it_is_installed(with_versions):
    assert with_versions().level == "ok"
    assert with_versions(obstore="0.13.0").level == "FAIL"
    assert with_versions(pytest="8.0").level == "ok"


def test_without_an_installation_it_says_that_nothing_was_checked(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(environment, "requires", requires)
    (finding,) = environment.libraries()
    assert finding.level == "warn"


def test_this_installation_is_ok():
    (finding,) = environment.libraries()
    assert (finding.level, finding.check) == ("ok", "libraries")
