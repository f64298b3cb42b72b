"""nginx on loopback: with a configuration of its own, or with the one that is shipped."""

import shutil
import socket
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
from anyio.abc import Process
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.doubles.hosts import ROOT, SECONDS
from tests.support.needs import needed

NGINX = needed("nginx") or shutil.which("nginx") is not None
"""Whether tests with nginx run."""


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@asynccontextmanager
async def shipped_proxy(folder: Path, port: int, origins: Sequence[str]) -> AsyncGenerator[ssl.SSLContext]:
    """Run nginx as `deploy/nginx.conf` sets it up, but for names and ports; yield how to trust it."""
    trusted = configure(folder, port, origins)
    async with nginx(folder, port):
        yield trusted


def configure(folder: Path, port: int, origins: Sequence[str]) -> ssl.SSLContext:
    """Write the configuration that is shipped, but for names and ports, into a folder; return how to trust the proxy.

    It writes to `access.log` and `error.log` in the folder.
    """
    certificate, key = self_signed(folder)
    shipped = (ROOT / "deploy" / "nginx.conf").read_text()
    for theirs, ours in {
        "/tmp/": f"{folder}/",
        "server tertulia:8765 fail_timeout=2s;": " ".join(
            f"server {each.removeprefix('http://')} fail_timeout=2s;" for each in origins
        ),
        "8443": f"127.0.0.1:{port}",
        "/etc/nginx/tls/certificate.pem": str(certificate),
        "/etc/nginx/tls/key.pem": str(key),
        "/dev/stdout": str(folder / "access.log"),
        "/dev/stderr": str(folder / "error.log"),
    }.items():
        assert theirs in shipped
        shipped = shipped.replace(theirs, ours)
    (folder / "nginx.conf").write_text(shipped)
    return ssl.create_default_context(cafile=certificate)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for this machine, and its key; return their files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(pem))
    files[1].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@asynccontextmanager
async def nginx(folder: Path, port: int) -> AsyncGenerator[Process]:
    """Run nginx with the configuration that a folder has, and wait until it listens."""
    async with await anyio.open_process(
        ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
        stdin=None,
        stdout=None,
        stderr=None,
    ) as process:
        try:
            with anyio.fail_after(SECONDS):
                await _listens(port, process)
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            # Killed before it has told its workers to end, it leaves them behind.
            with anyio.move_on_after(SECONDS, shield=True):
                await process.wait()


async def _listens(port: int, process: Process) -> None:
    """Return when somebody takes connections at this port; nothing tells us when the proxy is ready."""
    while process.returncode is None:
        try:
            async with await anyio.connect_tcp("127.0.0.1", port):
                return
        except OSError:
            await anyio.lowlevel.checkpoint()
    raise AssertionError("nginx has ended; it says why on stderr")
