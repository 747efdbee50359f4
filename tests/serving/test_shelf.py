"""`[serving] kind = "directory"`: an adapter is there whole before it is named, and named once."""

import json
import os
import shutil

import pytest

from flywheel import files
from flywheel.errors import ConfigError, NotFound, NotLoaded, Refused, ServingAway
from flywheel.serving.directory import Directory
from flywheel.serving.shelf import CHAMPION, Published, announce, fetch, published, shelf_at

PLACES = ["folder", pytest.param("bucket", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def s3():
    """A server of the S3 protocol with the bucket `routers`."""
    pytest.importorskip("obstore")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patched.setenv("AWS_ALLOW_HTTP", "true")
        patched.setenv("AWS_REGION", "us-east-1")
        patched.setenv("AWS_ACCESS_KEY_ID", "k")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "s")
        import urllib.request

        urllib.request.urlopen(
            urllib.request.Request(f"http://{host}:{port}/routers", method="PUT")
        ).close()
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "shelf")
    request.getfixturevalue("s3")
    return f"s3://routers/{tmp_path.name}"


@pytest.fixture
def shelf(place):
    return shelf_at(place)


@pytest.fixture
def daemon(tmp_path, shelf):
    for name in ("a-1", "a-2"):
        folder = tmp_path / "one" / "adapters" / name
        (folder / "more").mkdir(parents=True)
        (folder / "flywheel.json").write_text(f'{{"id": "{name}"}}')
        (folder / "more" / "weights").write_bytes(os.urandom(1000))
    return directory(tmp_path / "one", shelf)


def directory(state_dir, shelf):
    return Directory(state_dir / "adapters", shelf, state_dir / "serve" / "daemon-id")


def test_a_server_elsewhere_takes_what_is_named_and_every_file_of_it(daemon, shelf, tmp_path):
    daemon.promote("a-1")
    named = published(shelf)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = fetch(shelf, named, elsewhere)
    assert folder == elsewhere / "a-1"
    assert files.hashes(folder) == files.hashes(tmp_path / "one" / "adapters" / "a-1")
    assert fetch(shelf, named, elsewhere) == folder
    daemon.promote("a-2")
    daemon.promote("a-2")
    later = published(shelf)
    assert (later.adapter, daemon.serving()) == ("a-2", "a-2")
    assert later.version != named.version
    assert sorted(path.name for path in elsewhere.iterdir()) == ["a-1"]
    daemon.retire()
    assert published(shelf).adapter is None
    assert daemon.serving() is None
    with pytest.raises(NotLoaded, match="names no adapter"):
        fetch(shelf, published(shelf), elsewhere)


def test_a_daemon_that_starts_anew_goes_on(daemon, shelf, tmp_path):
    daemon.promote("a-1")
    again = directory(tmp_path / "one", shelf)
    again.promote("a-1")
    again.promote("a-2")
    assert published(shelf).adapter == "a-2"


def test_two_daemons_never_overwrite_each_other_in_silence(daemon, shelf, tmp_path):
    daemon.promote("a-1")
    shutil.copytree(tmp_path / "one" / "adapters", tmp_path / "two" / "adapters")
    other = directory(tmp_path / "two", shelf)
    for word in (lambda: other.promote("a-2"), other.retire):
        with pytest.raises(Refused, match=r"is another daemon's, which serves a-1 there"):
            word()
    assert published(shelf).adapter == "a-1"


def test_of_two_who_saw_the_same_version_one_writes(shelf):
    announce(shelf, Published(adapter="a-1", daemon="one"))
    seen = published(shelf)
    announce(shelf, Published(adapter="a-2", daemon="one", version=seen.version))
    for late in (seen.version, ""):
        with pytest.raises(Refused, match="was written by somebody else meanwhile"):
            announce(shelf, Published(adapter="a-3", daemon="two", version=late))
    assert published(shelf).adapter == "a-2"


def test_a_file_that_is_another_one_is_not_taken(daemon, shelf, place, tmp_path):
    daemon.promote("a-1")
    named = published(shelf)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Published(
        adapter="a-1", files={**named.files, "flywheel.json": "0" * 64}, version=named.version
    )
    with pytest.raises(NotLoaded, match=r"a-1/flywheel\.json in .* is another file than"):
        fetch(shelf, other, elsewhere)
    missing = Published(adapter="a-1", files={**named.files, "absent": "0" * 64})
    with pytest.raises(NotLoaded, match=r"a-1/absent in .* is missing"):
        fetch(shelf, missing, elsewhere)
    assert list(elsewhere.iterdir()) == []


def test_what_was_changed_in_its_place_is_fetched_anew(daemon, shelf, tmp_path):
    daemon.promote("a-1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = fetch(shelf, published(shelf), elsewhere)
    (folder / "flywheel.json").write_text("changed")
    fetch(shelf, published(shelf), elsewhere)
    assert (folder / "flywheel.json").read_text() == '{"id": "a-1"}'


def test_half_of_an_upload_is_made_whole(daemon, shelf, tmp_path):
    """As after `kill -9`: some files are there, and nothing names them."""
    half = tmp_path / "shelf" / "a-1"
    half.mkdir(parents=True)
    (half / "flywheel.json").write_text("half")
    daemon.promote("a-1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert fetch(shelf, published(shelf), elsewhere).is_dir()


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"adapter": "../a"}',
        b'{"adapter": "a-1", "files": {"../../x": "0"}}',
        b'{"adapter": "a-1", "files": {"/etc/x": "0"}}',
    ],
)
def test_a_page_that_names_no_adapter_is_refused(content, tmp_path):
    (tmp_path / CHAMPION).write_bytes(content)
    with pytest.raises(NotLoaded, match="names no adapter"):
        published(shelf_at(str(tmp_path)))


def test_an_adapter_that_is_not_there_is_not_named(daemon, shelf):
    with pytest.raises(NotFound, match="a-9 has no folder"):
        daemon.promote("a-9")
    assert published(shelf) == Published(adapter=None)


def test_files_that_changed_while_they_were_copied_are_not_named(daemon, shelf, tmp_path):
    folder = tmp_path / "one" / "adapters" / "a-1"
    with pytest.raises(NotLoaded, match="are not those that were trained"):
        shelf.put(folder, {"flywheel.json": "0" * 64})


def test_a_place_that_cannot_be_reached_is_away(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServingAway, match="cannot be used now"):
        published(shelf_at(str(tmp_path / "file" / "shelf")))


def test_an_address_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="gopher://x cannot be used"):
        shelf_at("gopher://x")


def test_the_page_is_json_for_others_to_read(daemon, tmp_path, place):
    daemon.promote("a-1")
    if place.startswith("s3"):
        pytest.skip("it is the same page")
    told = json.loads((tmp_path / "shelf" / CHAMPION).read_text())
    assert sorted(told) == ["adapter", "daemon", "files"]
    assert sorted(told["files"]) == ["flywheel.json", "more/weights"]
