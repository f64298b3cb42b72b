"""What opens an account at a platform: a text, or what a command of the configuration prints.

A command runs when its secret is needed. What it prints is kept in memory, and shown nowhere.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio
import anyio.abc

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import NotConfiguredError

logger = logging.getLogger(__name__)

KEPT_SECONDS = 300.0
"""How long a secret is used before its command runs again."""
STALE_SECONDS = 3_600.0
"""How long a secret is used whose command fails."""
PAUSE_SECONDS = 15.0
"""The least time between two runs of a command, however often calls need its secret."""
RUN_SECONDS = 10.0
"""How long a command may take."""
MAX_BYTES = 16 * 1024
"""The most that a command may print."""
_NO_LINE = "printed something else than a line of text"


class _FailedError(Exception):
    """Raised when a command gives no secret. `str(error)` says why, as the end of a sentence, with nothing of it."""


class _Command:
    """A command, and what it printed last. Those who need it at the same time wait for one run."""

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        instance: str,
        option: str,
        in_header: bool,
    ) -> None:
        self._words = words
        self._environment = environment
        self._instance = instance
        self._option = option
        self._in_header = in_header
        self._running = anyio.Lock()
        self._printed: str | None = None
        self._printed_at = self._ran_at = float("-inf")
        self._failure = ""

    async def read(self, clock: Clock) -> str:
        async with self._running:
            now = clock.now()
            if now - self._printed_at > KEPT_SECONDS and now - self._ran_at > PAUSE_SECONDS:
                await self._run(clock)
            if self._printed is None or clock.now() - self._printed_at > STALE_SECONDS:
                raise NotConfiguredError(
                    f"The command in `{self._option}` of the instance {self._instance} gives no secret: "
                    f"it {self._failure}.",
                    hint="Run it yourself, as the user who runs Tertulia, to see why.",
                    instance=self._instance,
                )
            return self._printed

    def forget(self, clock: Clock) -> bool:
        if clock.now() - self._ran_at <= PAUSE_SECONDS:
            return False
        self._printed, self._printed_at = None, float("-inf")
        return True

    async def _run(self, clock: Clock) -> None:
        try:
            self._printed = self._secret_in(await _output(self._words, self._environment, clock))
            self._printed_at = clock.now()
        except _FailedError as error:
            self._failure = str(error)
            logger.warning(
                "the command in `%s` of the instance %s gives no secret: it %s",
                self._option,
                self._instance,
                error,
            )
        self._ran_at = clock.now()

    def _secret_in(self, output: bytes) -> str:
        try:
            secret = output.decode().strip()
        except UnicodeDecodeError:
            raise _FailedError(_NO_LINE) from None
        if not secret:
            raise _FailedError("printed nothing")
        if not secret.isprintable() or (self._in_header and not secret.isascii()):
            raise _FailedError(_NO_LINE)
        return secret


@dataclass(frozen=True, slots=True)
class CommandSecret:
    """What a command prints, with a text before it."""

    _command: _Command = field(repr=False)
    _before: str = ""

    @classmethod
    def of(
        cls, words: Sequence[str], *, instance: str, principal: str | None, option: str, in_header: bool
    ) -> "CommandSecret":
        """Return the secret that a command prints; nothing is run yet.

        The command has the environment of this process, and in it for whom it is run. A secret that goes into a header
        is printable ASCII.
        """
        for_whom = {"TERTULIA_INSTANCE": instance, "TERTULIA_PRINCIPAL": principal or ""}
        environment = {**os.environ, **for_whom}
        return cls(_Command(words, environment, instance=instance, option=option, in_header=in_header))

    async def read(self, clock: Clock) -> str:
        """Return the secret, by running its command if that was long ago.

        Raises:
            NotConfiguredError: the command gives none.
        """
        return self._before + await self._command.read(clock)

    def forget(self, clock: Clock) -> bool:
        """Forget what the command printed, since the platform refuses it; return False if that is just now."""
        return self._command.forget(clock)

    def after(self, before: str) -> "CommandSecret":
        """Return the secret with a text before it."""
        return CommandSecret(self._command, before + self._before)


Secret: TypeAlias = str | CommandSecret


def prefixed(before: str, secret: Secret) -> Secret:
    """Return a secret with a text before it."""
    return before + secret if isinstance(secret, str) else secret.after(before)


async def revealed(secrets: Mapping[str, Secret], clock: Clock = SYSTEM_CLOCK) -> dict[str, str]:
    """Return secrets as they are now.

    Raises:
        NotConfiguredError: a command gives none.
    """
    return {
        name: secret if isinstance(secret, str) else await secret.read(clock)
        for name, secret in secrets.items()
    }


def forget(secrets: Mapping[str, Secret], clock: Clock = SYSTEM_CLOCK) -> bool:
    """Forget what commands printed, since the platform refuses it; return whether others may come of them."""
    commanded = [each for each in secrets.values() if isinstance(each, CommandSecret)]
    forgotten = [each.forget(clock) for each in commanded]
    return any(forgotten)


async def _output(words: Sequence[str], environment: Mapping[str, str], clock: Clock) -> bytes:
    """Run a command; return what it prints."""
    with clock.move_on_after(RUN_SECONDS):
        return await _printed(words, environment)
    raise _FailedError(f"did not end within {RUN_SECONDS:g} seconds")


async def _printed(words: Sequence[str], environment: Mapping[str, str]) -> bytes:
    try:
        process = await anyio.open_process(
            [*words],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # it may quote a secret
            env=environment,
            start_new_session=True,  # so that what it starts ends with it
        )
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no command"
        raise _FailedError(f"cannot be started ({reason})") from error
    output = bytearray()
    try:
        assert process.stdout is not None
        async for part in process.stdout:
            output += part
            if len(output) > MAX_BYTES:
                raise _FailedError(f"printed more than {MAX_BYTES:,} bytes")
        status = await process.wait()
    finally:
        _kill(process)
        with anyio.CancelScope(shield=True):
            await process.aclose()
    if status != 0:
        raise _FailedError(f"ended with the status {status}")
    return bytes(output)


def _kill(process: anyio.abc.Process) -> None:
    """End a command and what it has started, if it is still there."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
