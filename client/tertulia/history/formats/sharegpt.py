"""ShareGPT arrays: objects with `conversations`, whose turns have `from` and `value`.

Such a conversation has at most an id of the data set that it is in; else its contents are its id.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tertulia.history.contents import content_text
from tertulia.history.formats import Reader
from tertulia.history.items import Item, UnreadableError
from tertulia.history.threads import Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, sequence, text, without_empty
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.models import Role

SOURCE = "sharegpt"
_ROLES = {
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "bing": Role.ASSISTANT,
    "bard": Role.ASSISTANT,
    "system": Role.SYSTEM,
}
_CALL, _RESULTS = "function_call", {"tool", "observation", "function_response"}


class ShareGPTReader(Reader):
    """Reads an array, in which each record is a conversation."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record has turns with `from` and `value`."""
        first = mapping(next(iter(sequence(record.get("conversations"))), None))
        return {"from", "value"} <= first.keys()

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the turns of a conversation."""
        if not isinstance(record.get("conversations"), list):
            raise UnreadableError("a conversation has no `conversations`")
        thread = imported_thread(
            SOURCE,
            text(record.get("id")) or digest({"conversations": record["conversations"]}),
            title=text(record.get("title")),
            metadata=without_empty(model=text(record.get("model"))),
            created_at=self._origin.modified,
        )
        builder = ThreadBuilder(thread)
        yield from builder.message("system", Role.SYSTEM, text(record.get("system")), None)
        for number, turn in enumerate(map(mapping, record["conversations"])):
            name, speaker, said = f"message{number}", str(turn.get("from")), content_text(turn.get("value"))
            if speaker == _CALL:
                yield from builder.tool_call(None, "tool", said, None, Part(name))
            elif speaker in _RESULTS:
                yield from builder.tool_result(None, said, None, Part(name))
            elif speaker in _ROLES:
                yield from builder.message(name, _ROLES[speaker], said, None)
            else:
                raise UnreadableError(f"turn {number + 1} has no `from` that is known")
