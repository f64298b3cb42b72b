"""The command line: `tertulia` serves a host on stdio; the other commands are for people."""

import argparse
import gc
import sys
from collections.abc import Sequence
from typing import Any

from tertulia.vocabulary.errors import TertuliaError
from tertulia_server.settings import Settings, flag, load

USAGE_ERROR = 2
SPEAKS_MCP = (
    "tertulia speaks MCP here, for a host to start it. For people: tertulia demo, tertulia chat AGENT."
)

_EPILOG = """\
Every option can be set in the environment (--wait-seconds is TERTULIA_WAIT_SECONDS) and in the configuration file
(wait_seconds = 45); `tertulia config` shows what is in force, and where it comes from.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parsed = _parser().parse_args(arguments)
    flags: dict[str, Any] = vars(parsed)
    try:
        return _run(flags["command"] or "serve", flags)
    except TertuliaError as error:
        valid = f" Valid: {', '.join(error.valid)}." if error.valid else ""
        hint = f" {error.hint}" if error.hint else ""
        print(f"tertulia: {error}{valid}{hint}", file=sys.stderr)
        return USAGE_ERROR


def _run(command: str, flags: dict[str, Any]) -> int:
    # What a command needs is imported only for it: a host waits for the first tools/list.
    loaded = load(flags)
    if command == "serve":
        # Nothing of what is imported now becomes garbage: looking for some takes a tenth of the time. It is turned on
        # again once the server stands (`tertulia_server.stdio.settle`).
        gc.disable()
        if loaded.settings.http:
            from tertulia_server.http import serve as serve_http

            serve_http(loaded.settings)
        else:
            from tertulia_server.stdio import serve

            if sys.stdin.isatty():
                print(SPEAKS_MCP, file=sys.stderr)
            serve(loaded.settings)
    elif command == "config":
        from tertulia_server.config_command import show

        print(show(loaded))
    elif command == "manifest":
        from tertulia_server.host_config import show as show_manifest

        content, todo = show_manifest(flags["of"], loaded)
        print(todo, file=sys.stderr, flush=True)
        print(content, end="")
    elif command == "demo":
        from tertulia_server.demo import demo

        return demo(flags["text"], flags["file"])
    elif command == "chat":
        from tertulia_server.chat import chat

        return chat(loaded.settings, flags["agent"], flags["conversation"])
    elif command == "import":
        from tertulia_server.history_command import import_history

        return import_history(loaded.settings, flags["paths"], flags["format"], restore=flags["restore"])
    elif command == "export":
        from tertulia_server.history_command import export_history

        return export_history(
            loaded.settings,
            flags["format"],
            flags["output"],
            ids=flags["conversation"],
            instance=flags["instance"],
            agent=flags["agent"],
            since=flags["since"],
        )
    elif command == "sync":
        from tertulia_server.sync_command import sync

        return sync(loaded.settings, flags["instances_to_sync"], everything=flags["all"])
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_settings(shared)
    parser = argparse.ArgumentParser(
        prog="tertulia",
        allow_abbrev=False,  # or a command's own option could be the beginning of one of these
        description="An MCP server through which an LLM host holds conversations with agents that live elsewhere.",
        epilog=_EPILOG,
        parents=[shared],
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser(
        "serve",
        parents=[shared],
        help="serve a host on stdio, or many with --http (what `tertulia` alone does)",
    )
    commands.add_parser("config", parents=[shared], help="show the settings in force, without secrets")
    manifest = commands.add_parser(
        "manifest",
        parents=[shared],
        help="print what a host's configuration needs to start this command (--http: to reach it)",
    )
    manifest.add_argument(
        "of", metavar="HOST", help="claude-desktop, claude-code, cursor, vscode, codex, gemini-cli"
    )
    demo = commands.add_parser(
        "demo", parents=[shared], help="watch a host hold a conversation, in a temporary store"
    )
    demo.add_argument(
        "--text", default=None, help="text to talk about, instead of the one that comes with it"
    )
    demo.add_argument("--file", default=None, help="a file with the text")
    chat = commands.add_parser("chat", parents=[shared], help="talk to an agent yourself, in the terminal")
    chat.add_argument("agent", nargs="?", default="local:archivist", help="whom (local:archivist)")
    chat.add_argument("--conversation", default=None, metavar="ID", help="go on with this conversation")
    _add_history(commands, shared)
    sync = commands.add_parser(
        "sync",
        parents=[shared],
        help="bring the histories of instances into the index, as far as they have changed since the last time",
    )
    sync.add_argument("instances_to_sync", nargs="*", metavar="INSTANCE", help="which instances")
    sync.add_argument("--all", action="store_true", help="all that can be synced")
    return parser


def _add_history(commands: Any, shared: argparse.ArgumentParser) -> None:
    bring = commands.add_parser(
        "import",
        parents=[shared],
        help="bring in conversations that were held elsewhere; again adds nothing twice",
    )
    bring.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="files, folders or zip archives: sessions of Claude Code (~/.claude/projects), Codex (~/.codex/sessions) "
        "and Gemini CLI (~/.gemini/tmp), exports of ChatGPT and Claude.ai, arrays of messages, and what "
        "`tertulia export` writes; - reads standard input",
    )
    bring.add_argument(
        "--format",
        default=None,
        metavar="FORMAT",
        help="claude-code, codex, gemini-cli, chatgpt, claude.ai, messages or tertulia, where the contents do not tell",
    )
    bring.add_argument(
        "--restore", action="store_true", help="bring back conversations that were deleted here"
    )
    take = commands.add_parser(
        "export", parents=[shared], help="write conversations out, as JSON Lines or Markdown"
    )
    take.add_argument(
        "--format",
        choices=["jsonl", "markdown"],
        default=None,
        help="jsonl loses nothing and can be imported; markdown is for people (jsonl, or by the name of the file)",
    )
    take.add_argument("--output", default="-", metavar="FILE", help="where to write (- is standard output)")
    take.add_argument(
        "--conversation", action="append", default=[], metavar="ID", help="only this one (may be repeated)"
    )
    take.add_argument("--instance", default=None, help="only those of this instance")
    take.add_argument("--agent", default=None, help="only those with this agent")
    take.add_argument("--since", default=None, metavar="DATE", help="only those updated on this day or later")


class _ShowVersion(argparse.Action):
    """Looks the version up when it is asked for: reading package metadata takes a start-up some milliseconds."""

    def __call__(self, *_: Any) -> None:
        from importlib.metadata import version

        print(f"tertulia {version('tertulia')}")
        raise SystemExit(0)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    for name, field in Settings.model_fields.items():
        if name == "instances":
            continue
        said, typed = field.description, flag(name)
        if field.annotation is bool:
            parser.add_argument(typed, action=argparse.BooleanOptionalAction, help=said)
        else:
            metavar = "NAME" if name == "identity" else name.rpartition("_")[2].upper()
            parser.add_argument(typed, dest=name, metavar=metavar, help=said)
