"""`python -m tests.doubles.r2r_sdk URL`: use a server through the vendor's SDK; write what it returned as JSON.

Runs in the vendor's environment (requirements/r2r.in). What changes from run to run (ids, times) is replaced, so that
what two servers answer can be compared. The synchronous client is used: the other cannot stream in 3.6.6.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from r2r import R2RClient, R2RException

from tests.doubles.r2r import KEY

NOWHERE = "00000000-0000-0000-0000-000000000001"
TEXTS = ("hello", "think first", "tool please", "long", "boom", "empty")
_CHANGING = re.compile(
    r"(?P<uuid>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})|(?P<id>(msg|think|err)_[0-9a-f]{8})"
    r"|(?P<time>\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00))|(?P<tokens>(in|out)put_tokens\": \d+)"
)


class Log:
    """What was returned, step by step."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self._names: dict[str, str] = {}

    def __call__(self, step: str, call: Callable[[], Any]) -> Any:
        """Make a call and note what it returned or raised; return that."""
        result = None
        try:
            result = call()
            told: Any = self._plain(result)
        except R2RException as error:
            told = {"status": error.status_code, "message": error.message}
        self.steps.append([step, json.loads(_CHANGING.sub(self._name, json.dumps(told)))])
        return result

    def _plain(self, result: Any) -> Any:
        if isinstance(result, list):
            return [[type(one).__name__, one and one.model_dump(mode="json")] for one in result]
        return result.model_dump(mode="json")

    def _name(self, found: re.Match[str]) -> str:
        kind = str(found.lastgroup)
        if kind != "uuid":
            return f'{found["tokens"].split(chr(34))[0]}": 7' if kind == "tokens" else kind
        return self._names.setdefault(found.group(), f"uuid-{len(self._names)}")


def main(url: str) -> None:
    """Use everything that our adapter uses."""
    log = Log()
    client = R2RClient(url)
    log("no credentials", client.conversations.list)
    client.set_api_key("public.wrong")
    log("wrong key", client.conversations.list)
    client.set_api_key(KEY)
    talk = client.conversations
    named = log("create named", lambda: talk.create(name="Ä 🙂")).results.id
    other = log("create", talk.create).results.id
    log("list", lambda: talk.list(offset=0, limit=1))
    log("list by id", lambda: talk.list(ids=[named]))
    log("list behind the end", lambda: talk.list(offset=9))
    log("list no uuid", lambda: talk.list(ids=["nope"]))
    log("list limit", lambda: talk.list(limit=0))
    added = log("add", lambda: talk.add_message(named, "Hello", "user", metadata={"k": "v"})).results.id
    log("add child", lambda: talk.add_message(named, "Hi", "assistant", parent_id=str(added)))
    log("add number", lambda: talk.add_message(named, "x", "user", metadata={"n": 1}))
    log("add role", lambda: talk.add_message(named, "x", "tool"))
    log("add empty", lambda: talk.add_message(named, "", "user"))
    log("add unknown parent", lambda: talk.add_message(named, "x", "user", parent_id=NOWHERE))
    log("add nowhere", lambda: talk.add_message(NOWHERE, "x", "user"))
    log("edit", lambda: talk.update_message(named, added, content="Hello!"))
    log("edit metadata", lambda: talk.update_message(named, added, metadata={"r": "1"}))
    log("edit elsewhere", lambda: talk.update_message(other, added, metadata={"s": "2"}))
    log("edit unknown", lambda: talk.update_message(named, NOWHERE, content="x"))
    log("read", lambda: talk.retrieve(named))
    log("read nowhere", lambda: talk.retrieve(NOWHERE))
    log("read no uuid", lambda: talk.retrieve("nope"))
    log("rename", lambda: talk.update(named, name="Neu"))
    log("rename nowhere", lambda: talk.update(NOWHERE, name="x"))
    for text in TEXTS:
        log(text, lambda text=text: list(ask(client, other, text)))
    log("ask nowhere", lambda: list(ask(client, NOWHERE, "x")))
    log("read answers", lambda: talk.retrieve(other))
    log("name of the model's", lambda: talk.list(ids=[other]))
    log("delete", lambda: talk.delete(named))
    log("delete again", lambda: talk.delete(named))
    sys.stdout.write(json.dumps(log.steps))


def ask(client: R2RClient, conversation_id: Any, text: str) -> Any:
    """Ask the agent, streaming."""
    return client.retrieval.agent(
        message={"role": "user", "content": text},
        conversation_id=str(conversation_id),
        rag_generation_config={"stream": True},
    )


if __name__ == "__main__":
    main(sys.argv[1])
