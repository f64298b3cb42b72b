"""What a tool is: one typed function, and what the host is told about it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from inspect import signature
from typing import Any, cast, get_args

from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import ToolAnnotations
from pydantic import BaseModel

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_tools.schemas import closed, outlined


class Toolset(StrEnum):
    """Tools that are switched on and off together."""

    TALK = "talk"
    BROWSE = "browse"
    MANAGE = "manage"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A tool: its function, whose docstring is the description, and the four hints of MCP."""

    function: Callable[..., Any]
    title: str
    toolset: Toolset
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False
    meta: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name under which hosts call it."""
        return self.function.__name__

    @property
    def result(self) -> type[BaseModel]:
        """What a call that succeeds returns: `Annotated[CallToolResult, …]` names it."""
        returned: Any = signature(self.function, eval_str=True).return_annotation
        arms: tuple[Any, ...] = (returned, *get_args(returned))
        return next(arm.__metadata__[0] for arm in arms if hasattr(arm, "__metadata__"))

    @cached_property
    def tool(self) -> Tool:
        """The SDK's tool, with schemas as a model should see them; made once for all servers of a process.

        The SDK would derive the result's schema, and check each result against it: a host waits for the first, and our
        results are made of their models.
        """
        tool = Tool.from_function(
            self.function,
            title=self.title,
            description=_description(self.function),
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=self.read_only,
                destructive_hint=self.destructive,
                idempotent_hint=self.idempotent,
                open_world_hint=self.open_world,
            ),
            meta=self.meta,
            structured_output=False,
        )
        tool.parameters = closed(tool.parameters)
        metadata = Arguments.model_construct(**dict(tool.fn_metadata))
        metadata.output_schema = outlined(self.result)
        tool.fn_metadata = metadata
        return tool


class Arguments(FuncMetadata):
    """Reads a call's arguments: refuses those a tool does not have, and leaves a text alone that looks like JSON."""

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with JSON in a string read where the tool takes an object or a list.

        The SDK's own reading also turns a *text* such as `["a"]` or `null` into what it spells.

        Raises:
            InvalidInputError: an argument is unknown; names those there are.
        """
        fields = self.arg_model.model_fields
        for name in data:
            if name not in fields:
                near = get_close_matches(name, fields, n=1)
                raise InvalidInputError(
                    f"There is no argument `{name[:60]}`." + (f" Did you mean `{near[0]}`?" if near else ""),
                    valid=list(fields),
                )
        return {
            name: _read(value)
            if isinstance(value, str) and not _takes_text(fields[name].annotation)
            else value
            for name, value in data.items()
        }


def _takes_text(annotation: Any) -> bool:
    return annotation is str or str in getattr(annotation, "__args__", ())


def _read(value: str) -> Any:
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return cast(Any, read) if isinstance(read, dict | list) or read is None else value


def _description(function: Callable[..., Any]) -> str:
    lines = (function.__doc__ or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines)
