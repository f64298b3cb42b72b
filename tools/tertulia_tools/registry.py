"""The registry of tools, in the order in which hosts list them, and the selection that a server offers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_tools.access import AccessScope
from tertulia_tools.agents import AGENT_TOOLS
from tertulia_tools.analytics import ANALYTICS_TOOLS
from tertulia_tools.changes import CONVERSATION_CHANGE_TOOLS
from tertulia_tools.conversations import CONVERSATION_TOOLS
from tertulia_tools.definition import ToolDefinition, Toolset
from tertulia_tools.messages import MESSAGE_CHANGE_TOOLS, MESSAGE_LIST_TOOLS
from tertulia_tools.runs import RUN_TOOLS
from tertulia_tools.search import SEARCH_TOOLS

TOOLS: Sequence[ToolDefinition] = (
    *(*AGENT_TOOLS, *RUN_TOOLS),
    *(*CONVERSATION_TOOLS, *SEARCH_TOOLS, *MESSAGE_LIST_TOOLS, *ANALYTICS_TOOLS),
    *(*MESSAGE_CHANGE_TOOLS, *CONVERSATION_CHANGE_TOOLS),
)
"""The tools of models. Those of the page are apart, since few clients can show one (`page_tools`)."""

DECIDING_ON_PAGE = "view_decide"
"""The tool by which the page changes something."""
PAGE_TOOL_NAMES = ("show_conversation", "view_conversations", "view_conversation", DECIDING_ON_PAGE)


def offers_page(*, toolsets: Collection[str] = (), names: Collection[str] = ()) -> bool:
    """Return whether a server with this choice of tools offers those of the page: together, or not at all."""
    return not (toolsets or names) or Toolset.PAGE in toolsets


def page_tools(*, read_only: bool = False) -> Sequence[ToolDefinition]:
    """Return the tools of the page. They are loaded here: a server that nobody asks for them starts without."""
    from tertulia_tools.page import PAGE_TOOLS

    return [tool for tool in PAGE_TOOLS if tool.read_only or not read_only]


_BY_NAME: Mapping[str, ToolDefinition] = {tool.name: tool for tool in TOOLS}


def scope_of_call(name: str, arguments: Mapping[str, Any]) -> AccessScope:
    """Return the scope that a call needs; one of an unknown tool does nothing."""
    if name == DECIDING_ON_PAGE:
        return AccessScope.WRITE
    definition = _BY_NAME.get(name)
    return AccessScope.READ if definition is None else definition.scope(arguments)


def select(
    *, toolsets: Collection[str] = (), names: Collection[str] = (), read_only: bool = False
) -> Sequence[ToolDefinition]:
    """Return the tools of these toolsets and names, or all tools without either; `read_only`: only those that read.

    Raises:
        InvalidInputError: there is no such toolset or tool, or no tool is left.
    """
    for kind, wanted, known in (
        ("toolset", toolsets, [str(toolset) for toolset in Toolset]),
        ("tool", names, [tool.name for tool in TOOLS]),
    ):
        for name in wanted:
            if name not in known:
                raise InvalidInputError(f"There is no {kind} `{name}`.", valid=known)
    chosen = [
        tool
        for tool in TOOLS
        if (not (toolsets or names) or tool.toolset in toolsets or tool.name in names)
        and (tool.read_only or not read_only)
    ]
    if not chosen:
        raise InvalidInputError(
            "No tool is left to offer.", hint="Choose other toolsets or tools, or leave out read-only."
        )
    return chosen
