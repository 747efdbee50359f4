"""The wheel carries what an installation needs, without the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("flywheel", "plugins", "deploy", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel; from a copy, for building writes into its folder."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=leave)
        else:
            shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "."]
    subprocess.run(command, check=True, cwd=folder)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def inside(wheel, folder):
    """Names and bytes of the files below a folder of the wheel."""
    return {
        name.removeprefix(folder): wheel.read(name)
        for name in wheel.namelist()
        if name.startswith(folder)
    }


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_carries_the_units(wheel):
    assert inside(wheel, "flywheel/cli/templates/deploy/") == files(ROOT / "deploy")


def test_the_wheel_carries_the_sample_plugin(wheel):
    sample = (ROOT / "plugins" / "csv_drop.py").read_bytes()
    assert inside(wheel, "flywheel/cli/templates/plugins/") == {"csv_drop.py": sample}


def test_the_wheel_carries_every_file_of_the_package_and_nothing_else(wheel):
    assert inside(wheel, "flywheel/") == files(ROOT / "flywheel") | {
        f"cli/templates/deploy/{name}": content for name, content in files(ROOT / "deploy").items()
    }


def test_the_wheel_says_that_it_is_for_linux(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert "Classifier: Operating System :: POSIX :: Linux\n" in wheel.read(name).decode()
