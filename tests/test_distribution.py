"""What an installation of Tertulia puts on a machine."""

import configparser
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"client": "tertulia", "tools": "tertulia_tools", "server": "tertulia_server"}


def build(target: str, project: Path, folder: Path) -> Path:
    """Build with the backend itself, as a frontend would without isolation: nothing is downloaded."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)],
        cwd=project,
        check=True,
        capture_output=True,
    )
    (built,) = folder.iterdir()
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what is in the wheel, by path."""
    return contents(build("wheel", ROOT, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def unpacked_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the project as it comes out of the source distribution."""
    sdist = build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return project


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: dict[str, bytes]) -> None:
    """Nothing with a name as common as `server`, `tools` or `tests` lands in anybody's site-packages."""
    folders = {name.split("/")[0] for name in wheel}
    (metadata,) = {folder for folder in folders if folder.endswith(".dist-info")}

    assert folders == {*SOURCES.values(), metadata}


def test_every_module_of_the_three_packages_is_in_the_wheel(wheel: dict[str, bytes]) -> None:
    """No pattern that keeps litter out keeps a module out with it."""
    modules = {
        path.relative_to(ROOT / source).as_posix()
        for source, package in SOURCES.items()
        for path in (ROOT / source / package).rglob("*.py")
    }

    assert {name for name in wheel if name.endswith(".py")} == modules


@pytest.mark.parametrize("package", SOURCES.values())
def test_a_type_checker_finds_the_types_of_each_package(wheel: dict[str, bytes], package: str) -> None:
    """Each package carries the marker of PEP 561."""
    assert f"{package}/py.typed" in wheel


def test_the_wheel_installs_one_command_named_tertulia(wheel: dict[str, bytes]) -> None:
    """The command is the server's command line."""
    (found,) = (name for name in wheel if name.endswith(".dist-info/entry_points.txt"))
    entry_points = configparser.ConfigParser()
    entry_points.read_string(wheel[found].decode())

    assert {section: dict(entry_points[section]) for section in entry_points.sections()} == {
        "console_scripts": {"tertulia": "tertulia_server.cli:main"}
    }


@pytest.mark.io
def test_the_source_distribution_builds_the_same_wheel(
    wheel: dict[str, bytes], unpacked_sdist: Path, tmp_path: Path
) -> None:
    """Who builds from source gets what we publish, byte for byte."""
    assert contents(build("wheel", unpacked_sdist, tmp_path)) == wheel


def test_the_source_distribution_holds_the_sources_and_what_describes_them(unpacked_sdist: Path) -> None:
    """Neither tests and benchmarks nor the tools of this checkout are in it."""
    assert {path.name for path in unpacked_sdist.iterdir()} == {
        *SOURCES,
        *("pyproject.toml", "PKG-INFO", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore"),
    }
