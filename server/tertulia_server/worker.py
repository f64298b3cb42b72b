"""The worker: a detached process of a store that runs agent programs on this machine, so that they outlive the host.

A server on stdio launches it when a run needs it and none is there; a server on HTTP is its own. It logs to
`worker.log` beside the store, and ends after ten minutes without work, with the agents that it runs.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path

import anyio

from tertulia.client import Client
from tertulia.platforms.acp.settings import INHERITED
from tertulia.runs.runner import Worker
from tertulia.settings import ClientSettings
from tertulia.store.leases import RENEWAL
from tertulia.store.private_files import create_file, make_folder
from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tertulia_server.logs import log_to
from tertulia_server.settings import Loaded, Settings, local_name, variable

logger = logging.getLogger(__name__)

IDLE_SECONDS = 600.0
LARGEST_LOG = 1_000_000
_OWN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_DETACHED = 0x8 | 0x200
"""DETACHED_PROCESS and CREATE_NEW_PROCESS_GROUP of Windows."""


def log_file(store: StoreLocation) -> Path:
    """Return where the worker of a store logs to."""
    return local_name(store).with_name("worker.log")


async def launch_worker(settings: Settings, config: Path | None) -> None:
    """Start a worker, detached from this process; one that finds another already there ends at once."""
    command, environment = worker_command(settings, config, os.environ)
    folder = log_file(settings.store).parent
    make_folder(folder)
    if os.name == "nt":
        subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=_DETACHED,
        )
    else:  # it detaches itself: this process waits for what it started, and would never be told of its end
        await anyio.run_process(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )


def worker_command(
    settings: Settings, config: Path | None, inherited: Mapping[str, str]
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return the command of a worker, which every user of the machine can read, and its environment."""
    command = [sys.executable, "-m", "tertulia_server", "worker", "--log-level", settings.log_level]
    command += [] if config is None else ["--config", str(config)]
    environment = {name: value for name in (*INHERITED, *_OWN) if (value := inherited.get(name))}
    if isinstance(settings.store, PostgresUrl):
        environment |= {name: value for name, value in inherited.items() if name.startswith("PG")}
        environment[variable("store")] = settings.store.url
        if settings.store_listen_url is not None:
            environment[variable("store_listen_url")] = settings.store_listen_url.url
    else:
        command += ["--store", str(settings.store)]
    return command, environment


def serve(loaded: Loaded, *, idle: float = IDLE_SECONDS) -> int:
    """Be the worker (`tertulia worker`) of those instances whose configuration can work; return the exit code."""
    client_settings = loaded.settings.client_settings(leave_out_misconfigured=True)
    if os.name != "nt" and os.fork():
        os._exit(0)  # whoever launched us goes on; the child belongs to nobody
    log = log_file(loaded.settings.store)
    make_folder(log.parent)
    create_file(log)
    handler = RotatingFileHandler(log, maxBytes=LARGEST_LOG, backupCount=1, encoding="utf-8")
    settings = loaded.settings
    line = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    log_to(handler, settings.log_level, line, settings.log_format)
    logging.getLogger(__name__).setLevel(logging.INFO)
    try:
        anyio.run(_work, client_settings, idle, has_changed(loaded.file))
    except Exception:  # whatever it was: nobody waits for a detached process, and its log is what remains
        logger.exception("the worker ended")
        return 1
    return 0


async def _work(settings: ClientSettings, idle: float, stale: Callable[[], bool]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_at_signal, tasks.cancel_scope)
        async with Client.open(settings, worker=Worker()) as client:
            instances = ", ".join(client.worker_instances)
            logger.info("process %d begins to work for %s", os.getpid(), instances)
            was_worker = await client.work(idle=idle, stale=stale)
            logger.info("process %d ends%s", os.getpid(), "" if was_worker else ": there is a worker already")
        tasks.cancel_scope.cancel()


async def _end_at_signal(scope: anyio.CancelScope) -> None:
    """End the worker, and with it its agents, when the system or a person asks for it."""
    if os.name == "nt":
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


async def work_beside(client: Client, stopping: Callable[[], bool]) -> None:
    """Be the worker whenever no other process is, until the server stops: the task of a server on HTTP.

    `client` is the worker's own, so that the server's calls find it as they find any other worker. Like the server, it
    keeps the configuration that it was started with. Runs that it has taken up when the server stops go on until this
    is cancelled; those that begin then are another worker's.
    """
    while not stopping():
        await client.work(stale=stopping)
        await anyio.sleep(RENEWAL)


def has_changed(file: Path) -> Callable[[], bool]:
    """Return what tells whether a file has changed since now."""

    def state() -> tuple[int, int] | None:
        try:
            found = file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    before = state()
    return lambda: state() != before
