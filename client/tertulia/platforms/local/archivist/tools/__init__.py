"""The archivist's tools: they read and change the store. Results are compact JSON, because the journal keeps them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.quotes import withdraw_quotes
from tertulia.platforms.local.archivist.tokens import terms
from tertulia.platforms.local.archivist.toolcalls import LOCAL_PREFIX, Tool
from tertulia.platforms.local.archivist.tools.passages import passage
from tertulia.platforms.local.archivist.tools.results import (
    conversation_fields,
    search_query,
    short_title,
    to_minute,
)
from tertulia.platforms.local.archivist.tools.similarities import similar
from tertulia.platforms.local.archivist.tools.summaries import summarise
from tertulia.platforms.local.archivist.tools.timelines import timeline
from tertulia.platforms.local.archivist.wording import one_line
from tertulia.platforms.local.changes import update_conversation
from tertulia.store import conversation_pages, conversations, messages, runs
from tertulia.store.database import Transaction
from tertulia.store.search import search, titled_with
from tertulia.vocabulary.errors import ConflictError, InvalidInputError
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import (
    Conversation,
    ConversationChanges,
    ConversationQuery,
    SearchHit,
    SearchQuery,
    SearchResult,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import checked_line
from tertulia.vocabulary.untrusted import shown

_HITS = 8
_PASSAGES = 5
_CANDIDATES = 5
_MAX_SNIPPET = 240


def look_up(tx: Transaction, principal: str, tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a tool that changes nothing.

    Raises:
        InvalidInputError: the query has no word to search for, or too many.
        NotFoundError: there is no conversation with this id.
    """
    return _LOOK_UPS[tool](tx, principal, arguments)


def _search(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    found = search(tx, principal, search_query(arguments, _HITS))
    return _result(
        found, [_hit(hit) | {"snippet": one_line(hit.snippet, _MAX_SNIPPET)} for hit in found.hits]
    )


def _quote(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    found = search(tx, principal, search_query(arguments, _HITS))
    written = [hit for hit in found.hits if hit.message_id is not None]
    hits: list[dict[str, Any]] = []
    for hit in written[:_PASSAGES]:
        message = messages.get(tx, principal, hit.conversation_id, str(hit.message_id))
        hits.append(_hit(hit) | {"passage": passage(message.text or "", arguments["query"])})
    titles = len(found.hits) - len(written)
    total = None if found.total is None else found.total - titles
    return _result(found, hits) | {
        "total": total,
        "more": len(written) > len(hits) or found.next_cursor is not None,
    }


def _result(found: SearchResult, hits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    result = {
        "hits": hits,
        "more": found.next_cursor is not None,
        "ranked": found.ranked,
        "total": found.total,
    }
    return result | ({} if found.suggestion is None else {"suggestion": found.suggestion})


def _hit(hit: SearchHit) -> dict[str, Any]:
    fields = {
        "conversation_id": hit.conversation_id,
        "title": None if hit.conversation_title is None else short_title(hit.conversation_title),
        "at": to_minute(hit.at),
    }
    if hit.message_id is not None:
        fields |= {"message_id": hit.message_id, "author": hit.author or hit.role or "unknown"}
    return {name: value for name, value in fields.items() if value is not None}


def _list(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    status, archived = arguments.get("status"), arguments.get("archived", False)
    query = ConversationQuery(
        statuses=frozenset() if status is None else frozenset({Status(status)}),
        archived=None if archived == "all" else archived,
        limit=arguments["limit"],
    )
    page = conversation_pages.page(tx, principal, query)
    total = len(page.items) if page.total is None else page.total
    return {"conversations": list(map(conversation_fields, page.items)), "total": total}


def _look_up(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if "conversation_id" in arguments:
        found = [conversations.get(tx, principal, arguments["conversation_id"])]
    else:
        title = arguments["title"]
        found = conversations.titled(tx, principal, title, limit=_CANDIDATES + 1) or _by_words(
            tx, principal, title
        )
    candidates = list(map(conversation_fields, found[:_CANDIDATES]))
    for candidate in candidates:
        if runs.active(tx, principal, candidate["conversation_id"]) is not None:
            candidate["busy"] = True
    return {"conversations": candidates, "more": len(found) > _CANDIDATES}


def _by_words(tx: Transaction, principal: str, title: str) -> list[Conversation]:
    """Return the conversations whose titles have all words of `title`."""
    words = terms(title)
    found: list[str] = []
    if words:
        text = " ".join(f'"{word}"' for word in words)
        found = titled_with(tx, principal, SearchQuery(text=text, limit=_HITS))
    return [conversations.get(tx, principal, conversation_id) for conversation_id in found]


_LOOK_UPS: Mapping[Tool, Callable[[Transaction, str, Mapping[str, Any]], dict[str, Any]]] = {
    Tool.SEARCH: _search,
    Tool.QUOTE: _quote,
    Tool.SUMMARISE: summarise,
    Tool.TIMELINE: timeline,
    Tool.SIMILAR: similar,
    Tool.LIST: _list,
    Tool.LOOK_UP: _look_up,
}


def checked_arguments(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments that a person approved, checked: a form may have changed them.

    Raises:
        InvalidInputError: the tool does not take them.
    """
    names = ["conversation_id", "title"] if tool is Tool.RETITLE else ["conversation_id"]
    texts = {name: value for name, value in arguments.items() if isinstance(value, str)}
    if sorted(arguments) != names or sorted(texts) != names:
        takes = " and ".join(f"`{name}`" for name in names)
        raise InvalidInputError(
            f"The approval changed the arguments; {tool} takes {takes} and nothing else, as text."
        )
    try:
        split_conversation_id(texts["conversation_id"])
        if "title" in texts:
            texts["title"] = checked_line("title", texts["title"])
    except InvalidInputError as error:
        raise InvalidInputError(f"The approval changed the arguments: {error.message}") from error
    return texts


def preview(
    tx: Transaction, principal: str, current_id: str, tool: Tool, arguments: Mapping[str, str]
) -> dict[str, Any]:
    """Return the result that a change will have.

    Raises:
        NotFoundError: there is no such conversation (any more).
        ConflictError: the change cannot be made now.
    """
    conversation = _changeable(tx, principal, current_id, tool, arguments["conversation_id"])
    result = {"conversation_id": conversation.id}
    title = arguments.get("title", conversation.title)
    if title is not None:
        result["title"] = short_title(title)
    if tool is Tool.RETITLE and conversation.title is not None:
        result["before"] = short_title(conversation.title)
    return result


def apply_change(
    tx: Transaction, principal: str, current_id: str, tool: Tool, arguments: Mapping[str, str]
) -> None:
    """Make an approved change.

    Raises:
        NotFoundError, ConflictError: the change cannot be made any more; nothing was changed.
    """
    conversation_id = _changeable(tx, principal, current_id, tool, arguments["conversation_id"]).id
    match tool:
        case Tool.ARCHIVE | Tool.UNARCHIVE:
            update_conversation(
                tx, principal, conversation_id, ConversationChanges(archived=tool is Tool.ARCHIVE)
            )
        case Tool.RETITLE:
            update_conversation(tx, principal, conversation_id, ConversationChanges(title=arguments["title"]))
        case Tool.DELETE:
            conversations.delete(tx, principal, conversation_id)
            withdraw_quotes(tx, principal, conversation_id)
        case _:
            raise AssertionError(f"{tool} changes nothing")


def _changeable(
    tx: Transaction, principal: str, current_id: str, tool: Tool, conversation_id: str
) -> Conversation:
    if not conversation_id.startswith(LOCAL_PREFIX):
        raise ConflictError(f"{shown(conversation_id)} is not kept here.")
    conversation = conversations.get(tx, principal, conversation_id)
    if tool is Tool.DELETE and conversation_id == current_id:
        raise ConflictError("The conversation that we are having cannot be deleted from within.")
    if tool is Tool.DELETE and runs.active(tx, principal, conversation_id) is not None:
        raise ConflictError("It is still being answered: stop that with cancel_run, or wait for its end.")
    return conversation
