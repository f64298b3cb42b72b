"""The formats of further programs, each by a sample."""

import json
from pathlib import Path

import pytest

from tertulia import MessageQuery
from tertulia.history.formats import FORMATS, format_of
from tests.client.history.bringing import Bringing
from tests.client.history.making import Record, array_of, lines_of
from tests.client.history.samples import SAMPLES

pytestmark = pytest.mark.anyio


def written(name: str, folder: Path) -> Path:
    """Write a sample's file."""
    sample = SAMPLES[name]
    return (array_of if sample.array else lines_of)(folder / sample.file, *sample.records)


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_conversation_of(here: Bringing, tmp_path: Path, name: str) -> None:
    """It is recognised, and all of it comes in, once."""
    sample = SAMPLES[name]
    file = written(name, tmp_path)

    first = await here.bring(file)
    again = await here.bring(file)

    conversation, messages = await here.only()
    assert [(each.role, each.type, each.text) for each in messages] == sample.said
    assert (conversation.source, conversation.source_ref, conversation.title) == (
        name,
        sample.ref,
        sample.title,
    )
    assert first.left_out == (sample.left_out or {})
    assert (again.messages, again.unchanged, here.problems) == (0, 1, [])


@pytest.mark.parametrize("name", ["pi", "open-webui", "librechat"])
async def test_what_was_answered_again_is_a_branch(here: Bringing, tmp_path: Path, name: str) -> None:
    """The answer that is not shown is on the first one."""
    await here.bring(written(name, tmp_path))

    conversation, _ = await here.only()
    main = (await here.client.messages.list(conversation.id, MessageQuery(branch="main"))).items
    assert main[-1].text == "Badly."


def test_each_record_is_of_one_format() -> None:
    """No format takes another's records for its own, whatever their order."""
    for name, sample in SAMPLES.items():
        assert format_of(json.loads(json.dumps(sample.records[0]))) == name
    assert list(FORMATS)[-1] == "messages", "it recognises the most"


async def test_the_tree_that_librechat_exports_is_read(here: Bringing, tmp_path: Path) -> None:
    """Its messages stand in each other then."""
    answer: Record = {
        "messageId": "b",
        "parentMessageId": "a",
        "isCreatedByUser": False,
        "text": "hi",
        "children": [],
    }
    asked: Record = {
        "messageId": "a",
        "parentMessageId": "0",
        "isCreatedByUser": True,
        "text": "hello",
        "children": [answer],
    }
    record: Record = {"conversationId": "lc2", "title": "T", "recursive": True, "messagesTree": [asked]}
    (tmp_path / "lc2.json").write_text(json.dumps(record, indent=2))

    await here.bring(tmp_path / "lc2.json")

    _, messages = await here.only()
    assert [each.text for each in messages] == ["hello", "hi"]
