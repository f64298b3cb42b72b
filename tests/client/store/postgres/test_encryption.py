"""Connections that TLS encrypts: to the server that the URL names, or to none; and who else may read what it says."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import anyio
import psycopg
import pytest

from tertulia import InvalidInputError, StoreError, TertuliaError, UnavailableError
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.location import PostgresUrl
from tests.doubles.proxy import free_port, self_signed
from tests.support.postgres import give_away, own_server

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 20
PASSWORD = "s3cret-w0rd"


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A server that takes encrypted connections with a password only. `certificate` is its own."""

    port: int
    certificate: Path

    def url(self, *parameters: str, host: str = "localhost", password: str = PASSWORD) -> PostgresUrl:
        """Return the URL of its database with these parameters."""
        return PostgresUrl(f"postgresql://ann:{password}@{host}:{self.port}/postgres?{'&'.join(parameters)}")

    @property
    def trusted(self) -> str:
        """The parameter that names the server's certificate."""
        return f"sslrootcert={self.certificate}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Encrypted]:
    """Return a server with a certificate for `localhost`."""
    certificate, key = self_signed(tmp_path_factory.mktemp("server"))
    port = free_port()
    with own_server(listen_addresses="localhost", port=str(port)) as server:
        for name, file in {"server.crt": certificate, "server.key": key}.items():
            (server.data / name).write_bytes(file.read_bytes())
            (server.data / name).chmod(0o600)
            give_away(server.data / name)
        (server.data / "pg_hba.conf").write_text("local all all trust\nhostssl all ann all scram-sha-256\n")
        with psycopg.connect(f"{server.url}&port={port}", autocommit=True) as connection:
            connection.execute(f"CREATE ROLE ann LOGIN SUPERUSER PASSWORD '{PASSWORD}'".encode())
            connection.execute("ALTER SYSTEM SET ssl = on")
        server.stop("fast")
        server.start()
        yield Encrypted(port, certificate)


def protocol(tx: Transaction) -> object:
    """Return with which protocol the connection is encrypted."""
    return tx.one("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


async def failure(url: PostgresUrl) -> TertuliaError:
    """Return the error of whoever uses a store; nothing of it shows the password."""
    with anyio.fail_after(SECONDS), pytest.raises(TertuliaError) as raised:
        async with Store(url) as store:
            await store.read(protocol)
    assert PASSWORD not in f"{raised.value!r} {raised.value.hint} {raised.value.__cause__!r}"
    return raised.value


async def test_a_verified_connection_is_encrypted(server: Encrypted) -> None:
    """Those of transactions are, and the one that listens for changes."""
    url = server.url("sslmode=verify-full", server.trusted)
    with anyio.fail_after(SECONDS):
        async with Store(url) as one, Store(url) as two:
            assert await one.read(protocol) == ("TLSv1.3",)
            with one.watch("local:c1") as watch:
                await two.write(lambda tx: tx.touched.add("local:c1"))
                await watch.changed()


async def test_a_server_that_cannot_be_verified_is_not_used(server: Encrypted, tmp_path: Path) -> None:
    """The error says what is wrong with it and what to name; calling again would not help."""
    other, _ = self_signed(tmp_path)
    checked = "sslmode=verify-full"
    for url, problem in {
        server.url(checked, f"sslrootcert={other}"): "certificate verify failed",
        server.url(checked, f"sslrootcert={tmp_path}/none.pem"): 'none.pem" does not exist',
        server.url(checked, server.trusted, host="127.0.0.1"): 'does not match host name "127.0.0.1"',
    }.items():
        error = await failure(url)

        assert isinstance(error, StoreError)
        assert "cannot be verified" in error.message
        assert problem in error.message
        assert "sslrootcert" in (error.hint or "")
        assert not error.retryable


async def test_who_does_not_encrypt_or_has_the_wrong_password_is_told_so(server: Encrypted) -> None:
    """In the server's words, which name the user and no password."""
    for url, problem in {
        server.url("sslmode=disable"): "no encryption",
        server.url(
            "sslmode=require", password=f"{PASSWORD}1"
        ): 'password authentication failed for user "ann"',
    }.items():
        error = await failure(url)

        assert isinstance(error, UnavailableError)
        assert problem in error.message


@pytest.mark.parametrize(
    "parameter", [f"password={PASSWORD}&{PASSWORD}", f"{PASSWORD}=1", "connect_timeout=soon"]
)
async def test_a_parameter_that_is_none_is_refused_at_once(parameter: str) -> None:
    """Before anything is connected to; what libpq says of it would show what may be of the password."""
    with pytest.raises(InvalidInputError, match="A parameter of the URL") as raised:
        Store(PostgresUrl(f"postgresql://ann@localhost/db?{parameter}"))

    assert PASSWORD not in f"{raised.value!r} {raised.value.hint}"
    assert raised.value.__suppress_context__
