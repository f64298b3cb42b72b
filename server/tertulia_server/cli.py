"""The command line: `tertulia` serves a host on stdio; the other commands are for people."""

import argparse
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
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_settings(shared)
    parser = argparse.ArgumentParser(
        prog="tertulia",
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
    return parser


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
