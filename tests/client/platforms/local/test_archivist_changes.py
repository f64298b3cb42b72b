"""Archiving, retitling and deleting through the archivist: always asked for first."""

from typing import Any

import pytest

from tertulia import (
    Client,
    ConversationQuery,
    Decision,
    EventKind,
    MessageDraft,
    NotFoundError,
    Request,
    RunStatus,
    Settlement,
    Status,
    UnavailableError,
)
from tests.client.platforms.local.talk import APPROVED, Talk, run_and_wait

pytestmark = pytest.mark.anyio


async def titles(client: Client, *, archived: bool) -> set[str | None]:
    """The titles of all conversations, archived or not."""
    page = await client.conversations.list(ConversationQuery(archived=archived, limit=100))
    return {conversation.title for conversation in page.items}


async def test_archive_asks_in_words_and_then_archives(here: Talk) -> None:
    """A person sees what it is about before anything happens; approving does it, once."""
    old = await here.conversation("Renewals 2024")

    request = await here.ask(f"archive {old.id}")

    assert request.prompt == f"Archive the conversation “Renewals 2024” ({old.id})?"
    assert (request.tool, request.arguments) == ("archive_conversation", {"conversation_id": old.id})
    assert not (await here.client.conversations.get(old.id)).archived
    assert (await here.client.conversations.get(here.here.id)).status is Status.INPUT_REQUIRED

    answer = await run_and_wait(here.client, await here.client.runs.respond(request.id, APPROVED))

    assert answer.text == f"Archived: “Renewals 2024” (`{old.id}`)."
    assert (await here.client.conversations.get(old.id)).archived
    tool, result = answer.calls[-1]
    assert (tool, result["outcome"]) == ("archive_conversation", "ok")
    assert result["result"] == {"conversation_id": old.id, "title": "Renewals 2024"}


async def test_unarchive_brings_it_back(here: Talk) -> None:
    """What was archived can be found by its title and brought back."""
    old = await here.conversation("Renewals 2024")
    await here.say(f"archive {old.id}")

    answer = await here.say('unarchive "renewals 2024"')

    assert (
        answer.requests[0].prompt
        == f"Bring the conversation “Renewals 2024” ({old.id}) back from the archive?"
    )
    assert answer.text == f"Brought back: “Renewals 2024” (`{old.id}`)."
    assert not (await here.client.conversations.get(old.id)).archived


async def test_words_of_a_title_name_a_conversation_whose_messages_have_them_too(here: Talk) -> None:
    """A reference is looked for among the titles, whatever the messages say."""
    old = await here.conversation("Acme renewals 2024", "note: the renewals of Acme are due.")

    answer = await here.say('archive "renewals acme"')

    assert answer.text == f"Archived: “Acme renewals 2024” (`{old.id}`)."


async def test_retitle_is_journaled_like_any_other_new_title(here: Talk) -> None:
    """Who follows that conversation sees the title change."""
    made = await here.conversation("Renewals")

    answer = await here.say(f'retitle {made.id} to "Renewals with \\"Acme\\""')

    [request] = answer.requests
    assert request.prompt == (
        f'Change the title of the conversation “Renewals” ({made.id}) to “Renewals with "Acme"”?'
    )
    assert answer.text == f'Retitled: “Renewals with "Acme"” (`{made.id}`); before, it was “Renewals”.'
    assert (await here.client.conversations.get(made.id)).title == 'Renewals with "Acme"'
    happened = await here.client.conversations.events(made.id)
    assert [entry.data for entry in happened.entries if entry.kind is EventKind.TITLE_UPDATED] == [
        {"title": 'Renewals with "Acme"'}
    ]


async def test_delete_says_how_much_goes_and_deletes_it_for_good(here: Talk) -> None:
    """Nothing of it is found afterwards."""
    made = await here.conversation("Cormorants", "note: The cormorant dives.")

    answer = await here.say('delete "Cormorants"')

    assert (
        answer.requests[0].prompt
        == f"Delete the conversation “Cormorants” ({made.id}) with its 2 messages for good?"
    )
    assert answer.text == f"Deleted: “Cormorants” (`{made.id}`)."
    with pytest.raises(NotFoundError, match="was deleted"):
        await here.client.conversations.get(made.id)
    assert (await here.say("find cormorant")).text == "Nothing in your history has “cormorant”."


async def test_a_rejection_changes_nothing_and_its_reason_is_repeated(here: Talk) -> None:
    """The answer says that it was not done, and why."""
    made = await here.conversation("Renewals")
    reject = Settlement(decision=Decision.REJECT, reason="We need it until June.")

    answer = await here.say(f"delete {made.id}", reject)
    silent = await here.say(f"archive {made.id}", Settlement(decision=Decision.REJECT))

    assert (
        answer.text == f"Not deleted: “Renewals” (`{made.id}`). The reason given: “We need it until June.”."
    )
    assert silent.text == f"Not archived: “Renewals” (`{made.id}`). No reason was given."
    assert answer.calls[-1][1]["outcome"] == "rejected"
    assert await here.client.conversations.get(made.id) == made


async def test_several_changes_are_asked_for_one_after_the_other(here: Talk) -> None:
    """Each has its own confirmation, and the answer tells of each."""
    first, second, third = [await here.conversation(title) for title in ("One", "Two", "Three")]

    def decide(request: Request) -> Settlement:
        if request.arguments["conversation_id"] == second.id:
            return Settlement(decision=Decision.REJECT, reason="Not this one.")
        return APPROVED

    answer = await here.say(f'archive {first.id}, {second.id} and "Three", local:none and "Three"', decide)

    assert [request.arguments["conversation_id"] for request in answer.requests] == [
        first.id,
        second.id,
        third.id,
    ]
    assert answer.text.splitlines() == [
        f"- Archived: “One” (`{first.id}`).",
        f"- Not archived: “Two” (`{second.id}`). The reason given: “Not this one.”.",
        f"- Archived: “Three” (`{third.id}`).",
        "- There is no conversation local:none.",
    ]
    assert await titles(here.client, archived=True) == {"One", "Three"}


async def test_a_message_can_hold_different_changes(here: Talk) -> None:
    """One in each line, also of the same conversation; a line that cannot be read is told of."""
    made = await here.conversation("One")

    answer = await here.say(f"- retitle {made.id} to Two\n- archive {made.id}\n- delete whatever")

    assert answer.text.splitlines()[:2] == [
        f"- Retitled: “Two” (`{made.id}`); before, it was “One”.",
        f"- Archived: “Two” (`{made.id}`).",
    ]
    assert answer.text.splitlines()[2].startswith("- `delete` takes conversations by id")
    assert await titles(here.client, archived=True) == {"Two"}


async def test_too_many_changes_in_one_message_are_refused(here: Talk) -> None:
    """Nobody can decide about hundreds of them with care."""
    answer = await here.say("archive " + ", ".join(f"local:{number}" for number in range(21)))

    assert answer.text == "One message can change at most 20 conversations, and this one names 21."


async def test_this_conversation_can_be_retitled_and_archived_but_not_deleted(here: Talk) -> None:
    """An answer could not be given in a conversation that is gone."""
    retitled = await here.say('rename this conversation to "There"')
    archived = await here.say("archive this")
    deleted = [await here.say(text) for text in ("delete this", f"delete {here.here.id}", 'delete "There"')]

    assert retitled.text == f"Retitled: “There” (`{here.here.id}`); before, it was “Here”."
    assert archived.text == f"Archived: “There” (`{here.here.id}`)."
    for answer in deleted:
        assert answer.text == (
            "I cannot delete the conversation that we are having: that takes the tool delete_conversation."
        )
    assert (await here.client.conversations.get(here.here.id)).archived


async def test_what_is_kept_elsewhere_is_not_changed_here(here: Talk) -> None:
    """The archivist knows of other platforms' conversations, but only their platforms can change them."""
    await here.elsewhere("r2r:a1", "Terms", "Net thirty.")

    answer = await here.say("archive r2r:a1 and r2r:unknown")
    by_title = await here.say('delete "Terms"')

    assert answer.text.splitlines() == [
        "- `r2r:a1` is not kept here but at `r2r`: that takes the tool update_conversation.",
        "- `r2r:unknown` is not kept here but at `r2r`: that takes the tool update_conversation.",
    ]
    assert by_title.text == (
        "“Terms” (`r2r:a1`) is not kept here but at `r2r`: that takes the tool delete_conversation."
    )
    assert not (await here.client.conversations.list(ConversationQuery(instance=None, archived=True))).items


async def test_what_is_so_already_is_not_asked_for(here: Talk) -> None:
    """A confirmation that changes nothing would only teach people to approve."""
    made = await here.conversation("Renewals")

    answers = [await here.say(text) for text in (f"unarchive {made.id}", f"retitle {made.id} to Renewals")]
    await here.say(f"archive {made.id}")
    answers.append(await here.say(f"archive {made.id}"))

    assert [answer.text for answer in answers] == [
        f"“Renewals” (`{made.id}`) is not archived.",
        f"“Renewals” (`{made.id}`) has this title already.",
        f"“Renewals” (`{made.id}`) is archived already.",
    ]
    assert not any(answer.requests for answer in answers)


async def test_a_conversation_that_is_being_answered_is_not_deleted(here: Talk) -> None:
    """Neither when that is asked for, nor when it is approved later."""
    busy = await here.conversation("Busy")
    idle = await here.conversation("Idle")
    await here.client.runs.send(busy.id, MessageDraft(text="archive this"))
    pending = await here.ask(f"delete {idle.id}")
    await here.client.runs.send(idle.id, MessageDraft(text="archive this"))

    late = await run_and_wait(here.client, await here.client.runs.respond(pending.id, APPROVED))
    early = await here.say(f"delete {busy.id}")

    still = "is still being answered: stop that with cancel_run, or wait for its end."
    assert early.text == f"“Busy” (`{busy.id}`) {still}"
    assert late.text == f"Not deleted: “Idle” (`{idle.id}`). It {still}"
    assert late.calls[-1][1]["outcome"] == "error"
    assert {"Busy", "Idle"} <= await titles(here.client, archived=False)


async def test_what_was_deleted_while_it_was_asked_for_is_told(here: Talk) -> None:
    """A person may take days to decide."""
    made = await here.conversation("Renewals")
    pending = await here.ask(f"archive {made.id}")
    await here.client.conversations.delete(made.id)

    answer = await run_and_wait(here.client, await here.client.runs.respond(pending.id, APPROVED))

    assert answer.text.startswith(
        f"Not archived: “Renewals” (`{made.id}`). The conversation {made.id} was deleted on "
    )


async def test_an_approval_may_change_the_arguments(here: Talk) -> None:
    """What was approved is what happens, and the answer says that it is something else."""
    made = await here.conversation("Renewals")
    changed = {"conversation_id": made.id, "title": " Renewals 2027 "}

    answer = await here.say(
        f"retitle {made.id} to Renewals 2026", Settlement(decision=Decision.APPROVE, arguments=changed)
    )

    assert answer.text == (
        f"Retitled: “Renewals 2027” (`{made.id}`); before, it was “Renewals”. "
        "That is what was approved, not what I had asked for."
    )
    assert (await here.client.conversations.get(made.id)).title == "Renewals 2027"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "retitle_conversation takes `conversation_id` and `title` and nothing else"),
        ({"title": "Mine"}, "takes `conversation_id` and `title` and nothing else"),
        ({"conversation_id": "HERE", "title": "Mine", "force": True}, "and nothing else"),
        ({"conversation_id": "HERE", "title": 7}, "as text"),
        ({"conversation_id": "HERE", "title": " "}, "`title` is empty."),
        ({"conversation_id": "HERE", "title": "x" * 201}, "`title` has 201 characters"),
        ({"conversation_id": "nowhere", "title": "Mine"}, "“nowhere” is not a conversation id"),
        ({"conversation_id": "r2r:a1", "title": "Mine"}, "“r2r:a1” is not kept here."),
        ({"conversation_id": "local:none", "title": "Mine"}, "There is no conversation local:none."),
    ],
)
async def test_an_approval_with_arguments_that_make_no_sense_does_nothing(
    here: Talk, arguments: dict[str, Any], problem: str
) -> None:
    """Only the arguments that the tool takes, with values it can use, are carried out."""
    given = {key: here.here.id if value == "HERE" else value for key, value in arguments.items()}

    answer = await here.say("retitle this to There", Settlement(decision=Decision.APPROVE, arguments=given))

    assert answer.text.startswith(f"Not retitled: “Here” (`{here.here.id}`). ")
    assert problem in answer.text
    assert answer.calls[-1][1]["outcome"] == "error"
    assert (await here.client.conversations.get(here.here.id)).title == "Here"


async def test_an_approval_cannot_turn_a_deletion_against_this_conversation(here: Talk) -> None:
    """Changed arguments are held to the same rules as those that were asked for."""
    made = await here.conversation("Renewals")
    changed = Settlement(decision=Decision.APPROVE, arguments={"conversation_id": here.here.id})

    answer = await here.say(f"delete {made.id}", changed)

    assert answer.text.endswith("The conversation that we are having cannot be deleted from within.")
    assert {"Here", "Renewals"} <= await titles(here.client, archived=False)


async def test_a_prompt_cannot_be_forged_by_a_title(here: Talk) -> None:
    """Whoever named a conversation does not word the question about it."""
    made = await here.conversation("Old” (local:x)? It is harmless.\u202e Delete “New")

    request = await here.ask(f"delete {made.id}")

    assert request.prompt == (
        f'Delete the conversation “Old" (local:x)? It is harmless. Delete "New” ({made.id}) for good?'
    )


async def test_a_change_that_the_store_cannot_write_is_not_told_as_done(
    here: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result is in the journal together with what it tells of, or not at all."""
    made = await here.conversation("Renewals")
    pending = await here.ask(f"archive {made.id}")

    def locked(*_: object, **__: object) -> None:
        raise UnavailableError("The store was locked.")

    monkeypatch.setattr("tertulia.platforms.local.archivist.tools.apply_change", locked)

    answer = await run_and_wait(here.client, await here.client.runs.respond(pending.id, APPROVED))

    assert answer.run.status is RunStatus.FAILED
    assert answer.run.retryable
    assert [tool for tool, _ in answer.calls] == ["look_up_conversation"]
    assert not (await here.client.conversations.get(made.id)).archived
