import pytest
from packed import small_base

from flywheel.bases import catalogue


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """The catalogue with a small base in the place of the real one; gives its wheel."""
    place = tmp_path / "downloads"
    place.mkdir()
    base, wheel = small_base(place)
    rows = (catalogue.CATALOGUE[0], base)
    monkeypatch.setattr(catalogue, "CATALOGUE", rows)
    return wheel
