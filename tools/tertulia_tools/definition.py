"""The definition of a tool: one typed function, and what the server tells hosts about it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, PrivateAttr

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.untrusted import named
from tertulia_tools.access import AccessScope
from tertulia_tools.schemas import closed, outlined

STORED = Path(__file__).with_name("definitions")
"""The folder with what hosts are told about each tool. A tool's functions and models say the same: a test compares."""


class Toolset(StrEnum):
    """A group of tools that a setting switches on together."""

    TALK = "talk"
    BROWSE = "browse"
    MANAGE = "manage"
    PAGE = "page"
    """Those of `tertulia_tools.page`, which only a client that can show a page gets."""


@dataclass(frozen=True, kw_only=True)
class ToolDefinition:
    """A tool: its function, whose docstring is the description, with its title and the hints of MCP."""

    function: Callable[..., Any]
    title: str
    toolset: Toolset
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    admin: bool = False
    """Whether only `AccessScope.ADMIN` may call it."""
    admin_arguments: Sequence[str] = ()
    """The switches that only `AccessScope.ADMIN` may turn on."""
    meta: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name under which hosts call the tool."""
        return self.function.__name__

    def scope(self, arguments: Mapping[str, Any]) -> AccessScope:
        """Return the scope that a call with these arguments needs."""
        if self.admin or any(arguments.get(name) not in (None, False, "") for name in self.admin_arguments):
            return AccessScope.ADMIN
        return AccessScope.READ if self.read_only else AccessScope.WRITE

    @property
    def result(self) -> type[BaseModel]:
        """The model of a successful call's result, which the function's `Annotated[CallToolResult, …]` names."""
        returned: Any = signature(self.function, eval_str=True).return_annotation
        arms: tuple[Any, ...] = (returned, *get_args(returned))
        return next(arm.__metadata__[0] for arm in arms if hasattr(arm, "__metadata__"))

    @cached_property
    def tool(self) -> Tool:
        """The SDK's tool, for all servers of a process. A host that asks which tools there are waits for no model."""
        return _StoredTool.of(self)

    @cached_property
    def model(self) -> Tool:
        """The SDK's tool with a model of its arguments, and the schemas of `tertulia_tools.schemas`.

        The SDK would derive a schema from the result's model, for which a host waits at the start, and validate each
        result against it, although each result is an instance of that model.
        """
        tool = Tool.from_function(
            self.function,
            title=self.title,
            description=_description(self.function),
            # What the protocol assumes by itself is left out: an open world, and calls that are not idempotent.
            annotations=ToolAnnotations(
                read_only_hint=self.read_only,
                destructive_hint=None if self.read_only else self.destructive,
                idempotent_hint=True if self.idempotent and not self.read_only else None,
            ),
            meta=self.meta,
            structured_output=False,
        )
        tool.parameters = closed(tool.parameters)
        metadata = Arguments.model_construct(**dict(tool.fn_metadata))
        metadata.output_schema = outlined(self.result)
        tool.fn_metadata = metadata
        return tool


class _StoredTool(Tool):
    """A tool as it is stored in `STORED`, whose model is made when it is called first."""

    model_config = ConfigDict(defer_build=True)

    _definition: ToolDefinition = PrivateAttr()

    @classmethod
    def of(cls, definition: ToolDefinition) -> "_StoredTool":
        """Return the tool that a definition describes."""
        stored = json.loads((STORED / f"{definition.name}.json").read_text("utf-8"))
        tool = cls.model_construct(
            fn=definition.function,
            name=stored["name"],
            title=stored["title"],
            description=stored["description"],
            parameters=stored["inputSchema"],
            fn_metadata=FuncMetadata.model_construct(output_schema=stored["outputSchema"]),
            is_async=True,
            annotations=ToolAnnotations.model_validate(stored["annotations"]),
            meta=stored.get("_meta"),
        )
        tool._definition = definition
        return tool

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> Any:
        """Call the tool."""
        return await self._definition.model.run(arguments, context, convert_result)


def read_only_tool(
    function: Callable[..., Any],
    title: str,
    toolset: Toolset,
    *,
    admin_arguments: Sequence[str] = (),
    meta: dict[str, Any] | None = None,
) -> ToolDefinition:
    """Return the definition of a tool that changes nothing."""
    return ToolDefinition(
        function=function,
        title=title,
        toolset=toolset,
        read_only=True,
        idempotent=True,
        admin_arguments=admin_arguments,
        meta=meta,
    )


class Arguments(FuncMetadata):
    """Reads a call's arguments: it refuses unknown ones, and takes what hosts send for those that are left out."""

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments that are given, each in the form that the tool takes.

        Hosts with strict schemas send every argument: null and an empty text leave out one that may be left out. JSON
        in a string is parsed where the tool takes an object or a list; the SDK's own method also parses an argument
        that is a *text*, such as `["a"]` or `null`. A single value is a list of one where the tool takes a list.

        Raises:
            InvalidInputError: the tool has no such argument; the error lists its arguments.
        """
        fields = self.arg_model.model_fields
        for name in data:
            if name not in fields:
                raise _unknown_argument(name, fields)
        read = {name: _read(value, fields[name].annotation) for name, value in data.items()}
        return {
            name: value
            for name, value in read.items()
            if value not in ("", None) or fields[name].is_required()
        }


_OTHER_NAMES = {"text": "message", "message": "text", "content": "text"}
"""The names under which another tool takes what a caller means."""


def _unknown_argument(name: str, known: Iterable[str]) -> InvalidInputError:
    meant = _OTHER_NAMES.get(name)
    if meant is not None and meant in known:
        return InvalidInputError(
            f"There is no argument `{name}`: this tool calls it `{meant}`.", valid=list(known)
        )
    near = get_close_matches(name, known, n=1)
    return InvalidInputError(
        f"There is no argument `{named(name)}`." + (f" Did you mean `{near[0]}`?" if near else ""),
        valid=list(known),
    )


def _read(value: Any, annotation: Any) -> Any:
    takes_list = get_origin(annotation) is list
    takes_text = annotation is str or (not takes_list and str in get_args(annotation))
    if isinstance(value, str) and not takes_text:
        value = _parsed(value)
    wrap = takes_list and not isinstance(value, list) and value not in ("", None)
    return [value] if wrap else cast(Any, value)


def _parsed(text: str) -> Any:
    """Return the object or list that a text is in JSON; the text itself if it is neither."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return cast(Any, read) if isinstance(read, dict | list) or read is None else text


def _description(function: Callable[..., Any]) -> str:
    lines = (function.__doc__ or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines)
