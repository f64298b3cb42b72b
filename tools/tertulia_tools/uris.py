"""The URIs of resources.

The URI of a conversation is its id with a slash instead of the colon: `conversation://local/7k2mq9x4ab`. A colon would
put the native id where a URL has its port. Strict parsers (browsers, Node, Pydantic, Python) refuse such a URL, and
some hosts then refuse the whole list that contains it. `canonical_uri` still accepts the form with the colon. The URI
keeps the percent escapes of the id, so that each conversation has exactly one URI.
"""

import re

from mcp.shared.uri_template import UriTemplate

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import conversation_id, split_conversation_id
from tertulia.vocabulary.untrusted import shown

SCHEME = "conversation://"
TRANSCRIPT = "conversation://{instance}/{conversation}{?after}"
MESSAGES = "conversation://{instance}/{conversation}/messages{?after}"
EVENTS = "conversation://{instance}/{conversation}/events{?after}"
CONVERSATIONS = "conversations://{?instance,agent,status,after}"
AGENTS = "agents://{?instance}"
_CONVERSATION_TEMPLATES = tuple(UriTemplate.parse(template) for template in (TRANSCRIPT, MESSAGES, EVENTS))
_WITH_COLON = re.compile(r"(conversation://[a-z][a-z0-9_-]*)(?::|%3[Aa])")


def conversation_uri(conversation_id: str) -> str:
    """Return the URI of a conversation's transcript."""
    instance, native_id = split_conversation_id(conversation_id)
    return expand(TRANSCRIPT, instance=instance, conversation=native_id)


def conversation_id_of(uri: str) -> str:
    """Return the id of the conversation that a URI names.

    Raises:
        InvalidInputError: the URI does not name a conversation.
    """
    for template in _CONVERSATION_TEMPLATES:
        parts = template.match(canonical_uri(uri))
        if parts is not None:
            found_id = conversation_id(str(parts["instance"]), str(parts["conversation"]))
            split_conversation_id(found_id)  # raises if it is not well formed
            return found_id
    raise InvalidInputError(
        f"{shown(uri)} is not the URI of a conversation: that looks like conversation://local/7k2mq9x4ab.",
        hint="resources/list has the most recent ones.",
    )


def canonical_uri(uri: str) -> str:
    """Return the URI with a slash, if the id of a conversation was written into it with its colon."""
    return _WITH_COLON.sub(r"\1/", uri, count=1)


def expand(template: str, **variables: str | None) -> str:
    """Return the URI of a template with these variables, leaving out those that are None."""
    return UriTemplate.parse(template).expand(
        {name: value for name, value in variables.items() if value is not None}
    )


def given_id(value: object) -> object:
    """Return the id of the conversation where a caller gives the conversation's URI instead.

    Raises:
        InvalidInputError: the URI does not name a conversation.
    """
    return conversation_id_of(value) if isinstance(value, str) and value.startswith(SCHEME) else value
