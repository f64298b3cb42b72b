"""Which package may import which: the contracts in pyproject.toml, held in every test run."""

import ast
import pkgutil
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import tertulia

ROOT = Path(__file__).resolve().parent.parent
_HTTP = {"requests", "aiohttp", "urllib3", "urllib.request", "http.client"}
"""Modules that open connections over HTTP, beside HTTPX."""


def test_every_import_follows_the_contracts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Server knows tools, tools know the client, never back; the vocabulary knows nothing, a platform no other."""
    monkeypatch.chdir(ROOT)  # where the linter looks for its configuration
    # The linter's own configuration of logging would silence every logger of this process, for good.
    monkeypatch.setattr("logging.config.dictConfig", dict)

    broken = lint_imports(no_cache=True)

    assert not broken, capsys.readouterr().out


def test_the_client_has_no_module_outside_a_package_but_three() -> None:
    """Whoever looks for a thing finds its room first."""
    modules = {path.name for path in (ROOT / "client" / "tertulia").glob("*.py")}

    assert modules == {"__init__.py", "client.py", "settings.py"}


def test_the_public_api_is_one_import() -> None:
    """Everything in `__all__` is there, and nothing else that is public."""
    public = {name for name in vars(tertulia) if not name.startswith("_")} - _submodules()

    assert public == set(tertulia.__all__)


def test_task_groups_of_the_client_raise_the_error_of_a_task_as_it_is() -> None:
    """A group of errors passes by every `except` that names one; the runner and the agents' programs take it apart."""
    client = ROOT / "client" / "tertulia"
    own = {
        path.relative_to(client).as_posix()
        for path in client.rglob("*.py")
        if "anyio.create_task_group()" in path.read_text("utf-8")
        and "acp" not in path.relative_to(client).parts
    }

    assert own == {"vocabulary/tasks.py", "store/database.py", "runs/runner.py"}


def test_every_http_client_says_whether_it_takes_a_proxy_of_the_environment() -> None:
    """Each would take one by default. The one that is not HTTPX's has a test of its own (`test_telemetry.py`)."""
    silent: list[str] = []
    others: set[tuple[str, str]] = set()
    for root in ("client/tertulia", "tools/tertulia_tools", "server/tertulia_server"):
        for path in (ROOT / root).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id="httpx" | "httpx2"), attr=called)) if (
                        called in {"AsyncClient", "Client", "get", "post", "request", "stream"}
                    ):
                        if not any(keyword.arg == "trust_env" for keyword in node.keywords):
                            silent.append(f"{path}:{node.lineno}")
                    case ast.Import(names=names):
                        others |= {(path.name, each.name) for each in names if each.name in _HTTP}
                    case ast.ImportFrom(module=str(module)) if module in _HTTP:
                        others.add((path.name, module))
                    case _:
                        pass

    assert silent == []
    assert others == {("telemetry.py", "requests")}


def _submodules() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(tertulia.__path__)}
