"""All tools, in the order in which hosts list them, and which of them a server offers."""

from collections.abc import Collection, Sequence

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_tools.agents import AGENT_TOOLS
from tertulia_tools.analytics import ANALYTICS_TOOLS
from tertulia_tools.changes import MANAGING_TOOLS
from tertulia_tools.conversations import BROWSING_TOOLS
from tertulia_tools.definition import Definition, Toolset
from tertulia_tools.messages import READING_TOOLS, WRITING_TOOLS
from tertulia_tools.runs import TALKING_TOOLS
from tertulia_tools.search import SEARCHING_TOOLS

TOOLS: Sequence[Definition] = (
    *(*AGENT_TOOLS, *TALKING_TOOLS),
    *(*BROWSING_TOOLS, *SEARCHING_TOOLS, *READING_TOOLS, *ANALYTICS_TOOLS),
    *(*WRITING_TOOLS, *MANAGING_TOOLS),
)


def selected(
    *, toolsets: Collection[str] = (), names: Collection[str] = (), read_only: bool = False
) -> Sequence[Definition]:
    """Return the tools to offer: all, or those of these toolsets and names; if `read_only`, those that change nothing.

    Raises:
        InvalidInputError: a toolset or tool is unknown, or nothing is left.
    """
    for kind, asked, known in (
        ("toolset", toolsets, [str(toolset) for toolset in Toolset]),
        ("tool", names, [tool.name for tool in TOOLS]),
    ):
        for name in asked:
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
