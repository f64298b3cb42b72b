"""The command line. `tertulia` alone serves a host on stdio; the other commands are for people."""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tertulia.vocabulary.errors import InvalidInputError, TertuliaError
from tertulia.vocabulary.untrusted import clean_text, one_line
from tertulia_server.command_parser import command_parser
from tertulia_server.logs import guard_stderr
from tertulia_server.settings import Loaded, Settings, load, local_name

if TYPE_CHECKING:
    from tertulia.runs.runner import Worker

Flags = dict[str, Any]
USAGE_ERROR = 2
INTERRUPTED = 130
"""What shells report of a program that Ctrl-C ended."""
UNREAD = 141
"""What they report of one whose output nobody reads any more, as behind `| head`."""
SPEAKS_MCP = (
    "tertulia speaks MCP here, for a host to start it. For people: tertulia demo, tertulia chat AGENT."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parsed = command_parser().parse_args(arguments)
    flags: Flags = vars(parsed)
    guard_stderr()
    try:
        loaded = load(flags)
        for sentence in loaded.warnings:
            print(one_line(f"tertulia: {sentence}"), file=sys.stderr)
        command = flags["command"] or "serve"
        misconfigured = _misconfigured(loaded.settings)
        if misconfigured is not None and not _started_by_a_host(command, loaded.settings):
            raise misconfigured
        if misconfigured is not None:
            _say(misconfigured)
        return _run(command, loaded, flags) or (USAGE_ERROR if misconfigured else 0)
    except TertuliaError as error:
        _say(error)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python would try once more at its end, to write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def _run(command: str, loaded: Loaded, flags: Flags) -> int:
    """Run a command and return its exit code; what it has printed is written then."""
    code = COMMANDS[command](loaded, flags)
    if not _started_by_a_host(command, loaded.settings):
        sys.stdout.flush()
    return code


# A command imports what it needs when it runs, since a host waits for the answer to its first `tools/list`.


def _say(error: TertuliaError) -> None:
    valid = f" Valid: {', '.join(error.valid)}." if error.valid else ""
    hint = f" {error.hint}" if error.hint else ""
    print(one_line(f"tertulia: {error}{valid}{hint}"), file=sys.stderr)


def _misconfigured(settings: Settings) -> InvalidInputError | None:
    """Look at every instance before a command begins; return what is wrong with them, if anything is."""
    if not (settings.instances or settings.agents):
        return None
    from tertulia.client import Client

    try:
        Client.check(settings.client_settings())
    except InvalidInputError as error:
        return error
    return None


def _started_by_a_host(command: str, settings: Settings) -> bool:
    """Whether nobody may read what a command prints, so that it goes on with the instances that can be used."""
    return command == "worker" or (command == "serve" and not settings.http)


def _serve(loaded: Loaded, _: Flags) -> int:
    # What is imported now never becomes garbage, and looking for garbage takes a tenth of the start-up time. The server
    # enables the collector when it is built (`tertulia_server.stdio.freeze_heap`).
    gc.disable()
    if loaded.settings.http:
        from tertulia_server.http import serve as serve_http

        serve_http(loaded.settings)
    else:
        from tertulia_server.stdio import serve

        if sys.stdin.isatty():
            print(SPEAKS_MCP, file=sys.stderr)
        serve(loaded.settings, _launching(loaded))
    return 0


def _launching(loaded: Loaded) -> "Worker":
    """Return how a process that may end at any time has runs executed that only a worker can execute."""
    from tertulia.runs.runner import Worker

    async def launch() -> None:
        from tertulia_server.worker import launch_worker

        await launch_worker(loaded.settings, loaded.file if loaded.file_read else None)

    return Worker(
        launch=launch, hint=f"`worker.log` in {local_name(loaded.settings.store).parent} says more."
    )


def _agents(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.agents_command import add, show

    print(clean_text(add(loaded, flags["add"], flags["folder"]) if flags["add"] else show(loaded)))
    return 0


def _worker(loaded: Loaded, _: Flags) -> int:
    from tertulia_server.worker import serve

    return serve(loaded)


def _config(loaded: Loaded, _: Flags) -> int:
    from tertulia_server.config_command import show

    print(show(loaded))
    return 0


def _manifest(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.host_config import show

    content, todo = show(flags["of"], loaded)
    print(todo, file=sys.stderr, flush=True)
    print(content, end="")
    return 0


def _open(loaded: Loaded, _: Flags) -> int:
    from tertulia_server.open_command import open_page

    return open_page(loaded)


def _token(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.store_token import store_token
    from tertulia_server.token_command import add, remove

    if flags["add"] is not None:
        print(add(loaded.settings, flags["add"], flags["scopes"]))
    elif flags["remove"] is not None:
        print(remove(loaded.settings, flags["remove"]))
    else:
        print(store_token(loaded.settings.store))
    return 0


def _install(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.install_command import hosts, install

    host = flags["host_name"]
    print(hosts(loaded) if host is None else install(host, loaded, dry_run=flags["dry_run"]))
    return 0


def _uninstall(_: Loaded, flags: Flags) -> int:
    from tertulia_server.install_command import uninstall

    print(uninstall(flags["host_name"], dry_run=flags["dry_run"]))
    return 0


def _doctor(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.doctor_command import Verdict, examine_all, shown

    findings = examine_all(loaded)
    print(shown(findings, as_json=flags["json"]))
    return int(any(finding.verdict is Verdict.FAILED for finding in findings))


def _demo(_: Loaded, flags: Flags) -> int:
    from tertulia_server.demo import demo

    return demo(flags["text"], flags["file"])


def _chat(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.chat import chat

    return chat(loaded.settings, flags["agent"], flags["conversation"], _launching(loaded))


def _approve(loaded: Loaded, _: Flags) -> int:
    from tertulia_server.approve_command import approve

    return approve(loaded.settings, _launching(loaded))


def _import(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.history_command import import_history

    return import_history(
        loaded.settings,
        flags["paths"],
        flags["format"],
        restore=flags["restore"],
        redact=flags["redact"],
        limited=not flags["no_limit"],
    )


def _follow(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.follow_command import follow

    return follow(loaded.settings, flags["paths"], redact=flags["redact"])


def _export(loaded: Loaded, flags: Flags) -> int:
    from tertulia.resources.history import Selection
    from tertulia_server.history_command import export_history, parse_since

    selection = Selection(
        ids=flags["conversation"],
        instance=flags["instance"],
        agent=flags["agent"],
        since=parse_since(flags["since"]),
    )
    return export_history(loaded.settings, selection, flags["format"], flags["output"])


def _search(loaded: Loaded, flags: Flags) -> int:
    from tertulia.vocabulary.models import Role, SearchQuery
    from tertulia_server.search_command import search
    from tertulia_tools.arguments import parse_time

    query = SearchQuery(
        text=" ".join(flags["words"]),
        instance=flags["instance"],
        agent=flags["agent"],
        conversation_id=flags["conversation"],
        since=parse_time("--since", flags["since"]),
        until=parse_time("--until", flags["until"], end_of_day=True),
        limit=flags["limit"],
        role=None if flags["role"] is None else Role(flags["role"]),
        types=frozenset(flags["type"]),
        program_text=not flags["said"],
        source=flags["source"],
        folder=flags["folder"],
        per_conversation=flags["per_conversation"],
    )
    return search(loaded.settings, query, as_json=flags["json"], opened=flags["open"])


def _show(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.search_command import show

    return show(loaded.settings, flags["id"], last=flags["last"], full=flags["full"])


def _sync(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.sync_command import sync

    return sync(loaded.settings, flags["instances_to_sync"], everything=flags["all"])


def _backup(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.backup_command import make_backup

    return make_backup(loaded.settings, flags["file"])


def _restore(loaded: Loaded, flags: Flags) -> int:
    from tertulia_server.backup_command import restore_backup

    return restore_backup(loaded.settings, flags["file"])


def _store(_: Loaded, flags: Flags) -> int:
    from tertulia_server.store_command import copy, reopen

    if flags["store_command"] == "copy":
        return copy(flags["source"], flags["target"], keep=flags["keep"])
    return reopen(flags["reopened"], restored=flags["restored"])


COMMANDS: Mapping[str, Callable[[Loaded, Flags], int]] = {
    "serve": _serve,
    "agents": _agents,
    "worker": _worker,
    "config": _config,
    "manifest": _manifest,
    "install": _install,
    "uninstall": _uninstall,
    "doctor": _doctor,
    "open": _open,
    "token": _token,
    "demo": _demo,
    "chat": _chat,
    "approve": _approve,
    "import": _import,
    "follow": _follow,
    "export": _export,
    "search": _search,
    "show": _show,
    "sync": _sync,
    "backup": _backup,
    "restore": _restore,
    "store": _store,
}
"""Runs each command and returns its exit code."""
