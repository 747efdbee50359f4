"""Who may read an adapter: whom the umask lets read, weights and all."""

import multiprocessing
import os
import shutil
import stat
import tempfile
import warnings
from pathlib import Path

import pytest
import torch

from flywheel.serving import ChampionLink
from flywheel.worker.logistic import Linear
from flywheel.worker.models import base
from flywheel.worker.models.encoder import adapter, lora
from flywheel.worker.models.encoder.layers import Encoder
from flywheel.worker.models.encoder.out_of_scope import ScopeRule

OPERATORS, OPERATOR = 54321, 54322  # a group and a user that own nothing else


def untrained(encoder):
    """An adapter of the top layer that changes nothing yet."""
    wrapped = lora.wrap(encoder, 5, 1, 1, 0, torch.float32)
    return adapter.EncoderAdapter(
        base=base.BUNDLED,
        base_sha256=encoder.base.sha256,
        tokenizer_sha256=encoder.base.tokenizer_sha256,
        max_length=32,
        depth=5,
        rank=1,
        alpha=1,
        labels=["none", "play"],
        arguments={"none": [], "play": ["song"]},
        slots=["song"],
        scope=ScopeRule("confidence", 0.5),
        factors={name: factor.detach() for name, factor in lora.names(wrapped.model).items()},
        head=Linear(torch.zeros(2, 384), torch.zeros(2)),
        tag_head=Linear(torch.zeros(3, 384), torch.zeros(3)),
    )


@pytest.fixture
def written():
    """A state folder with an adapter as a daemon under the shipped unit's umask writes it."""
    place = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    encoder = Encoder.load(base.load(base.BUNDLED))
    before = os.umask(0o027)
    try:
        place.chmod(0o750)
        name = adapter.write(place / "adapters" / "a-1", untrained(encoder), encoder, {})
        yield place, name
    finally:
        os.umask(before)
        shutil.rmtree(place)


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}


def test_every_file_of_an_adapter_has_the_mode_that_the_umask_gives(written):
    found = modes(written[0] / "adapters" / "a-1")
    assert found == {
        "a-1": 0o750,
        **dict.fromkeys(
            ("README.md", "adapter_config.json", "adapter_model.safetensors", "flywheel.json",
             "heads.safetensors"), 0o640,
        ),
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("group", "loaded"), [(OPERATORS, True), (OPERATOR, False)])
def test_another_user_loads_the_champion_when_it_is_of_the_group(written, group, loaded):
    place, name = written
    ChampionLink(place / "adapters").promote("a-1")
    for path in (place, *place.rglob("*")):
        os.chown(path, 0, OPERATORS, follow_symlinks=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads
        child = multiprocessing.get_context("fork").Process(
            target=load_as, args=(group, place / "adapters" / "champion", name)
        )
        child.start()
    child.join()
    assert (child.exitcode == 0) is loaded


def load_as(group, folder, name):
    os.setgroups([])
    os.setgid(group)
    os.setuid(OPERATOR)
    assert adapter.content_id(adapter.load(folder)) == name


def test_weights_of_an_earlier_version_become_readable_when_they_are_served(written):
    folder = written[0] / "adapters" / "a-1"
    (folder / "heads.safetensors").chmod(0o600)
    ChampionLink(folder.parent).promote("a-1")
    assert modes(folder)["heads.safetensors"] == 0o640


def test_an_adapter_in_a_private_folder_stays_private(written):
    folder = written[0] / "adapters" / "a-1"
    folder.chmod(0o700)
    (folder / "heads.safetensors").chmod(0o600)
    ChampionLink(folder.parent).promote("a-1")
    assert modes(folder)["heads.safetensors"] == 0o600
