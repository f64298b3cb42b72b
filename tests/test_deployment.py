"""What `deploy/` runs is what the server understands; `tests/server/test_round_robin.py` runs its proxy."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Mapping
from importlib.metadata import requires, version
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from tertulia.vocabulary.location import PostgresUrl
from tertulia_server.http import check_exposure
from tertulia_server.http_limits import Limits
from tertulia_server.settings import Settings, load

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def image() -> Mapping[str, str]:
    """Return the environment that the image has."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    (said,) = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in said.split())


def compose(name: str = "compose.yaml") -> Mapping[str, Any]:
    """Return what a compose file says."""
    return cast(Mapping[str, Any], YAML(typ="safe", pure=True).load(DEPLOY / name))  # pyright: ignore[reportUnknownMemberType]


def merged(below: Any, above: Any) -> Any:
    """Return what two compose files say together."""
    if isinstance(below, dict) and isinstance(above, dict):
        one, other = cast(dict[str, Any], below), cast(dict[str, Any], above)
        return one | {
            name: merged(one[name], value) if name in one else value for name, value in other.items()
        }
    return above


def unit() -> Mapping[str, list[str]]:
    """Return what the systemd unit sets, by name."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "tertulia.service").read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings of a server with this environment, which starts and warns of nothing."""
    loaded = load({}, {name: value for name, value in environment.items() if name.startswith("TERTULIA_")})
    assert loaded.warnings == []
    assert loaded.settings.http
    assert loaded.settings.log_format == "json"
    check_exposure(loaded.settings)
    return loaded.settings


def test_the_image_under_compose_has_settings_that_there_are(tmp_path: Path) -> None:
    """It serves others, who have to show tokens, and believes the network that only the proxy is in."""
    files = compose()
    service = files["services"]["tertulia"]
    config = tmp_path / "tertulia.toml"
    config.touch()
    # Of options behind the path, Docker and Podman do not know the same.
    assert [each["tmpfs"] for each in files["services"].values()] == [["/tmp"], ["/tmp"]]
    settings_of(
        {
            **image(),
            **service["environment"],
            "TERTULIA_PUBLIC_URL": "https://tertulia.example/mcp",
            "TERTULIA_CONFIG": str(config),
        }
    )
    network = files["networks"]["inside"]
    assert network["internal"]
    assert service["environment"]["TERTULIA_TRUSTED_PROXIES"] == network["ipam"]["config"][0]["subnet"]


def test_two_servers_under_compose_share_a_database_and_are_told_apart_by_their_addresses(
    tmp_path: Path,
) -> None:
    """Each is what the one is, but for the store; the proxy knows both by one name."""
    alone, scaled = compose(), compose("compose.scaled.yaml")
    config = tmp_path / "tertulia.toml"
    config.touch()
    addresses: list[str] = []
    for name in ("tertulia", "tertulia2"):
        service = scaled["services"][name]
        assert service.get("extends") in (None, {"file": "compose.yaml", "service": "tertulia"})
        service = merged(alone["services"]["tertulia"], service)
        settings = settings_of(
            {
                **image(),
                **service["environment"],
                "TERTULIA_PUBLIC_URL": "https://tertulia.example/mcp",
                "TERTULIA_CONFIG": str(config),
            }
        )
        assert isinstance(settings.store, PostgresUrl)
        assert not settings.store.has_password
        assert "@postgres/" in str(settings.store)
        assert {"inside", "outside", "database"} == set(service["networks"])
        addresses.append(service["networks"]["inside"]["ipv4_address"])
    (network,) = alone["networks"]["inside"]["ipam"]["config"]
    assert all(ip_address(each) in ip_network(network["subnet"]) for each in addresses)
    proxy = merged(alone["services"]["nginx"], scaled["services"]["nginx"])
    balancing = (DEPLOY / "nginx.conf").read_text()
    (server,) = re.findall(r"server (\w+):8765 fail_timeout=2s;", balancing)
    # By `consistent`, nginx hashes names, and gives the requests of one host to the addresses of a name in turn.
    assert re.findall(r"^ +hash (.*?);", balancing, re.MULTILINE) == ["$kept_by"]
    assert proxy["extra_hosts"] == [f"{server}:{each}" for each in addresses]
    assert set(proxy["depends_on"]) == {"tertulia", "tertulia2"}
    assert set(scaled["services"]["postgres"]["networks"]) == {"database"}
    assert scaled["networks"]["database"]["internal"]


def test_the_unit_has_settings_that_there_are(tmp_path: Path) -> None:
    """And gives a stopping server the time that its settings promise to its runs."""
    config = tmp_path / "tertulia.toml"
    config.write_text('token_file = "tokens"\n')
    environment = dict(each.split("=", 1) for each in unit()["Environment"])
    settings_of({**environment, "TERTULIA_CONFIG": str(config)})
    assert float(environment["TERTULIA_DRAIN_SECONDS"]) + 10 <= float(unit()["TimeoutStopSec"][0])


def test_the_proxy_takes_what_the_server_takes() -> None:
    """A text is refused by neither of the two alone."""
    (size,) = re.findall(r"client_max_body_size (\d+)m;", (DEPLOY / "nginx.conf").read_text())
    assert int(size) * 1024 * 1024 == Limits().body_bytes


def test_the_image_is_built_from_what_there_is() -> None:
    """As its user, not as root, from locks."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    allowed = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in shlex.split(line)[:-1]:
            assert (ROOT / source).exists()
            assert any(each == source or each.startswith(f"{source}/") for each in allowed), source
    assert all("--require-hashes" in line for line in re.findall(r"pip install [^&\n]*--requirement", text))
    assert text.rindex("USER 10001") < text.rindex("ENTRYPOINT")


def needed(distribution: str, extras: Collection[str], found: set[str]) -> set[str]:
    """Add to what was found what a distribution needs here, with these extras, and what that needs."""
    for requirement in map(Requirement, requires(distribution) or ()):
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if wanted and name not in found:
            found.add(name)
            needed(name, requirement.extras, found)
    return found


def test_the_lock_of_what_runs_has_all_that_the_package_needs() -> None:
    """At the releases that the tests run with; `python3 dev.py lock` writes it."""
    text = (ROOT / "requirements" / "run.txt").read_text()
    pinned = dict(re.findall(r"^(\S+)==(\S+)", text, re.MULTILINE))
    names = needed("tertulia", ["otel", "postgres"], set())

    assert {name: pinned.get(name) for name in names} == {name: version(name) for name in names}


@pytest.mark.io
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit() -> None:
    """All that it misses is the program, which is not installed there."""
    done = subprocess.run(
        ["systemd-analyze", "verify", str(DEPLOY / "tertulia.service")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "tertulia.service" in line]
    assert [line for line in said if "is not executable" not in line] == []
