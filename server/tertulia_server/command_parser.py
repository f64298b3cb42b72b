"""The parser of the command line: every command with its options, and an option for each setting."""

import argparse
from collections.abc import Callable
from typing import Any

from tertulia.vocabulary.untrusted import clean_text
from tertulia_server.settings import TABLES, Settings, flag

HOST_NAMES = "claude-desktop, claude-code, cursor, vscode, codex, gemini-cli, opencode, zed, goose"
_EPILOG = """\
Every option can be set in the environment (--wait-seconds is TERTULIA_WAIT_SECONDS) and in the configuration file
(wait_seconds = 45); `tertulia config` shows what is in force, and where it comes from.
"""


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_settings(shared)
    parser = _Parser(
        prog="tertulia",
        allow_abbrev=False,  # or a command's own option could be the beginning of one of these
        description="An MCP server through which an LLM host holds conversations with agents that live elsewhere.",
        epilog=_EPILOG,
        parents=[shared],
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_server(commands, shared)
    _add_conversations(commands, shared)
    _add_history(commands, shared)
    _add_search(commands, shared)
    _add_sync(commands, shared)
    _add_backup(commands, shared)
    _add_store(commands, shared)
    return parser


def _add_server(commands: Any, shared: argparse.ArgumentParser) -> None:
    commands.add_parser(
        "serve",
        parents=[shared],
        help="serve a host on stdio, or many with --http (what `tertulia` alone does)",
    )
    agents = commands.add_parser(
        "agents",
        parents=[shared],
        help="show which agents this machine has (Claude Code, Codex, …, models in Ollama, …), and configure them",
    )
    agents.add_argument(
        "--add", default=None, metavar="NAME", help="write the configuration of this one, or of SERVER:MODEL"
    )
    agents.add_argument(
        "--folder", action="append", default=[], metavar="PATH", help="where it may work (may be repeated)"
    )
    commands.add_parser(
        "worker",
        parents=[shared],
        help="run agent programs of this machine for all hosts of a store (started when it is needed)",
    )
    commands.add_parser("config", parents=[shared], help="show the settings in force, without secrets")
    manifest = commands.add_parser(
        "manifest",
        parents=[shared],
        help="print what a host's configuration needs to start this command (--http: to reach it)",
    )
    manifest.add_argument("of", metavar="HOST", help=HOST_NAMES)
    install = commands.add_parser(
        "install",
        parents=[shared],
        help="put this installation into a host's own configuration; alone, show the hosts that are here",
    )
    install.add_argument("host_name", nargs="?", metavar="HOST", help=HOST_NAMES)
    uninstall = commands.add_parser(
        "uninstall", parents=[shared], help="take it out of a host's configuration"
    )
    uninstall.add_argument("host_name", metavar="HOST", help="as `tertulia install` shows them")
    for command in (install, uninstall):
        command.add_argument("--dry-run", action="store_true", help="show the change, and make none")
    doctor = commands.add_parser(
        "doctor", parents=[shared], help="show what works here, what does not, and what to do about it"
    )
    doctor.add_argument(
        "--json", action="store_true", help="as JSON; the exit code is 1 where something failed"
    )
    commands.add_parser(
        "open",
        parents=[shared],
        help="open a page in your browser: all conversations, answers as they come, what awaits your approval",
    )
    token = commands.add_parser(
        "token",
        parents=[shared],
        help="print the store's token, which callers over HTTP have to show, or make one for somebody",
    )
    change = token.add_mutually_exclusive_group()
    change.add_argument("--add", default=None, metavar="NAME", help="make a token for NAME, and show it once")
    change.add_argument("--remove", default=None, metavar="NAME", help="remove all tokens of NAME")
    token.add_argument(
        "--scopes",
        default="read,write",
        metavar="SCOPES",
        help="what NAME may do: read, write, admin (read,write)",
    )


def _add_conversations(commands: Any, shared: argparse.ArgumentParser) -> None:
    demo = commands.add_parser(
        "demo", parents=[shared], help="watch a host hold a conversation, in a temporary store"
    )
    demo.add_argument(
        "--text", default=None, help="text to talk about, instead of the one that comes with it"
    )
    demo.add_argument("--file", default=None, help="a file with the text")
    chat = commands.add_parser("chat", parents=[shared], help="talk to an agent yourself, in the terminal")
    chat.add_argument("agent", nargs="?", default="local:archivist", help="whom (local:archivist)")
    commands.add_parser(
        "approve",
        parents=[shared],
        help="decide yourself, in the terminal, what agents want to do or to know",
    )
    chat.add_argument("--conversation", default=None, metavar="ID", help="go on with this conversation")


def _add_search(commands: Any, shared: argparse.ArgumentParser) -> None:
    search = commands.add_parser(
        "search", parents=[shared], help="find something that was said, and read it, in the terminal"
    )
    search.add_argument(
        "words",
        nargs="+",
        metavar="WORDS",
        help='all must occur; a quoted argument may have "phrases", prefix*, -without and OR',
    )
    search.add_argument("--instance", default=None, help="only in this instance")
    search.add_argument("--agent", default=None, help="only in conversations with this agent")
    search.add_argument("--conversation", default=None, metavar="ID", help="only in this conversation")
    search.add_argument("--source", default=None, help="only what came from there: claude-code, chatgpt, …")
    search.add_argument(
        "--folder", default=None, metavar="PATH", help="only about this project folder: its path, or its name"
    )
    search.add_argument(
        "--role", choices=("user", "assistant", "tool", "system"), default=None, help="only what these wrote"
    )
    search.add_argument(
        "--type", action="append", default=[], help="only messages of this type (may be repeated)"
    )
    search.add_argument(
        "--said",
        action="store_true",
        help="only what people and agents said, and nothing that programs put in",
    )
    search.add_argument("--per-conversation", action="store_true", help="each conversation once")
    search.add_argument("--since", default=None, metavar="DATE", help="only from this day or time on")
    search.add_argument("--until", default=None, metavar="DATE", help="only up to this day or time")
    search.add_argument(
        "--limit", type=_between(1, 50), default=10, metavar="N", help="how many matches (10; at most 50)"
    )
    search.add_argument("--json", action="store_true", help="print the matches as JSON")
    search.add_argument(
        "--open",
        type=_between(1, 50),
        default=None,
        metavar="N",
        help="show the match of this number at once",
    )
    show = commands.add_parser("show", parents=[shared], help="read a conversation in the terminal")
    show.add_argument("id", metavar="ID", help="its id, as search and lists show it")
    show.add_argument(
        "--last", type=_between(1, 1_000_000), default=None, metavar="N", help="only its last messages"
    )
    show.add_argument("--full", action="store_true", help="what tools returned as a whole")


def _between(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a number for an option."""

    def number(typed: str) -> int:
        if not typed.isdecimal() or not least <= int(typed) <= most:
            raise argparse.ArgumentTypeError(f"it must be a number from {least} to {most}")
        return int(typed)

    return number


def _add_sync(commands: Any, shared: argparse.ArgumentParser) -> None:
    sync = commands.add_parser(
        "sync",
        parents=[shared],
        help="bring the histories of instances into the index, as far as they have changed since the last time",
    )
    sync.add_argument("instances_to_sync", nargs="*", metavar="INSTANCE", help="which instances")
    sync.add_argument("--all", action="store_true", help="all that can be synced")


def _add_backup(commands: Any, shared: argparse.ArgumentParser) -> None:
    backup = commands.add_parser(
        "backup", parents=[shared], help="copy the store to a file; servers may use it meanwhile"
    )
    backup.add_argument("file", metavar="FILE", help="a new file")
    restore = commands.add_parser(
        "restore", parents=[shared], help="make the store what a backup holds; servers may use it meanwhile"
    )
    restore.add_argument("file", metavar="FILE", help="what `tertulia backup` wrote")


def _add_store(commands: Any, shared: argparse.ArgumentParser) -> None:
    store = commands.add_parser(
        "store", parents=[shared], help="move the store to another place, into a database or out of it"
    )
    of_store = store.add_subparsers(dest="store_command", metavar="COMMAND", required=True)
    place = "the path of a file, or postgresql://HOST/NAME"
    copy = of_store.add_parser(
        "copy", parents=[shared], help="copy a store, compare the copy, and close the one that was copied"
    )
    copy.add_argument("source", metavar="FROM", help=place)
    copy.add_argument("target", metavar="TO", help="the same: a new file, or a database without a store")
    copy.add_argument(
        "--keep", action="store_true", help="go on with FROM; the copy is a store of its own beside it"
    )
    reopen = of_store.add_parser(
        "reopen", parents=[shared], help="go on with a store that `tertulia store copy` has closed"
    )
    reopen.add_argument("reopened", metavar="STORE", help=place)
    reopen.add_argument(
        "--restored",
        action="store_true",
        help="with one that pg_restore has restored: nothing is sent again that was sent since",
    )


def _add_history(commands: Any, shared: argparse.ArgumentParser) -> None:
    importer = commands.add_parser(
        "import",
        parents=[shared],
        help="bring in conversations that were held elsewhere; again adds nothing twice",
    )
    importer.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="files, folders or zip archives: sessions of Claude Code (~/.claude/projects), Codex (~/.codex/sessions) "
        "and Gemini CLI (~/.gemini/tmp), exports of ChatGPT and Claude.ai, arrays of messages, and what "
        "`tertulia export` writes; - reads standard input",
    )
    importer.add_argument(
        "--format",
        default=None,
        metavar="FORMAT",
        help="claude-code, codex, gemini-cli, chatgpt, claude.ai, messages or tertulia, where the contents do not tell",
    )
    importer.add_argument(
        "--restore", action="store_true", help="bring back conversations that were deleted here"
    )
    importer.add_argument(
        "--redact", action="store_true", help="mask secrets (keys, tokens, passwords) in what comes in"
    )
    importer.add_argument(
        "--no-limit", action="store_true", help="read archives and packed files however much they hold"
    )
    follower = commands.add_parser(
        "follow",
        parents=[shared],
        help="import sessions of other programs as they are written, secrets masked, until Ctrl-C",
    )
    follower.add_argument(
        "paths",
        nargs="*",
        metavar="FOLDER",
        help="folders of sessions (those that the setting `follow` has, or else those of all known programs)",
    )
    follower.add_argument(
        "--redact",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="mask secrets (keys, tokens, passwords) in what comes in",
    )
    exporter = commands.add_parser(
        "export", parents=[shared], help="write conversations out, as JSON Lines, Markdown or HTML"
    )
    exporter.add_argument(
        "--format",
        choices=["jsonl", "markdown", "html"],
        default=None,
        help="jsonl loses nothing and can be imported; markdown and html are for people (by the name of the file; html"
        " into a folder, else jsonl)",
    )
    exporter.add_argument(
        "--output",
        default="-",
        metavar="FILE",
        help="where to write (- is standard output); a folder gets a page for each conversation, and an index",
    )
    exporter.add_argument(
        "--conversation", action="append", default=[], metavar="ID", help="only this one (may be repeated)"
    )
    exporter.add_argument("--instance", default=None, help="only those of this instance")
    exporter.add_argument("--agent", default=None, help="only those with this agent")
    exporter.add_argument(
        "--since", default=None, metavar="DATE", help="only those updated on this day or later"
    )


class _Parser(argparse.ArgumentParser):
    """A parser whose messages a terminal only shows: they repeat what was typed, or pasted."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(clean_text(message), file)


class _ShowVersion(argparse.Action):
    """Prints the version. It reads the package's metadata only then, since that takes some milliseconds."""

    def __call__(self, *_: Any) -> None:
        from importlib.metadata import version

        print(f"tertulia {version('tertulia')}")
        raise SystemExit(0)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    for name, field in Settings.model_fields.items():
        if name in TABLES:
            continue
        description, option = field.description, flag(name)
        if field.annotation is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, help=description)
        else:
            metavar = "NAME" if name == "identity" else name.rpartition("_")[2].upper()
            parser.add_argument(option, dest=name, metavar=metavar, help=description)
