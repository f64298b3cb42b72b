"""A store's file from an earlier version of the schema is brought to this one, and nothing in it is lost."""

from functools import partial
from pathlib import Path

import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConversationQuery,
    Decision,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotFoundError,
    Rating,
    RunStatus,
    SearchQuery,
    Settlement,
    Status,
    StoreError,
)
from tertulia.store.database import Store, Transaction
from tertulia.store.index.base import scope
from tertulia.store.sqlite.engine import SqliteEngine
from tertulia.store.sqlite.schema import STEPS
from tests.client.making import ME

pytestmark = [pytest.mark.anyio, pytest.mark.creates]

DAY = 86_400_000_000
VERSION_5 = Path(__file__).with_name("version5.sql")


def fill(tx: Transaction) -> None:
    """Enter what the first version knew of a conversation: it had no ratings, branches or participants."""
    tx.run(
        "INSERT INTO conversations (principal, id, instance, agent, status, title, metadata, source, entity_type,"
        " archived, message_count, last_seq, created_at, updated_at) VALUES"
        " ('local', 'local:old', 'local', 'local:archivist', 'open', 'Renewals', '{\"team\":\"sales\"}', 'web', 'user',"
        " 0, 2, 1, ?, ?)",
        DAY,
        2 * DAY,
    )
    tx.run("INSERT INTO title_index (rowid, title) SELECT number, title FROM conversations")
    for number, (role, text) in enumerate(
        (("user", "What about Acme?"), ("assistant", "They renew in May."))
    ):
        tx.run(
            "INSERT INTO messages (position, principal, conversation_id, id, scope, author, role, created_at, metadata,"
            " text) VALUES (?, 'local', 'local:old', ?, ?, 'user', ?, ?, '{}', ?)",
            number + 1,
            f"m_{number}",
            scope(ME),
            role,
            DAY + number * 5_000_000,
            text,
        )
        tx.run("INSERT INTO message_index (rowid, text, scope) VALUES (?, ?, ?)", number + 1, text, scope(ME))
    tx.run(
        "INSERT INTO journal VALUES ('local', 'local:old', 1, 'run_started', '{}', NULL, NULL, ?)",
        DAY,
    )
    tx.run(
        "INSERT INTO runs (id, principal, conversation_id, agent, status, message_id, call_digest, checkpoint,"
        " first_seq, created_at, ended_at) VALUES"
        " ('run_1', 'local', 'local:old', 'local:archivist', 'completed', 'm_0', 'd', '{}', 0, ?, ?)",
        DAY,
        DAY + 5_000_000,
    )


def fill_version_5(tx: Transaction) -> None:
    """Enter the rows of a file of version 5: two conversations with the archivist, one of which asks something."""
    statements = VERSION_5.read_text("utf-8").partition("\n")[2].split(";\n")
    for statement in filter(None, statements):
        tx.run(statement)
    for index in ("message_index", "title_index"):
        tx.run(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")


@pytest.fixture
async def version_5(path: Path) -> Path:
    """Return a file as version 5 of the schema left it."""
    async with Store(path, engine=partial(SqliteEngine, steps=STEPS[:5])) as store:
        await store.write(fill_version_5)
        # A key is remembered for a time only (`tertulia.store.idempotency`), and the file is older than that.
        await store.write(lambda tx: tx.run("UPDATE receipts SET created_at = ?", tx.at))
        assert await store.read(lambda tx: tx.one("PRAGMA user_version")) == (5,)
    return path


@pytest.fixture
async def old(path: Path) -> Path:
    """Return a file as the first version of the schema left it."""
    async with Store(path, engine=partial(SqliteEngine, steps=STEPS[:1])) as store:
        await store.write(fill)
        assert await store.read(lambda tx: tx.one("PRAGMA user_version")) == (1,)
    return path


async def test_what_the_first_version_kept_is_still_there(old: Path) -> None:
    """Found by id, in lists and by search; what it did not know is not known."""
    async with Client.open(ClientSettings(store=old)) as client:
        conversation = await client.conversations.get("local:old")
        listed = await client.conversations.list(
            ConversationQuery(source="web", metadata={"team": "sales"}, entity_type="USER")
        )
        found = await client.search.messages(SearchQuery(text="acme"))
        said = await client.messages.list("local:old")

    assert (conversation.title, conversation.status, conversation.rating) == ("Renewals", Status.OPEN, None)
    assert [one.id for one in listed.items] == ["local:old"]
    assert [hit.message_id for hit in found.hits] == ["m_0"]
    assert [(one.text, one.rating) for one in said.items] == [
        ("What about Acme?", None),
        ("They renew in May.", None),
    ]


async def test_what_the_first_version_could_not_do_works_on_its_conversations(old: Path) -> None:
    """Ratings, figures, titles and the rest."""
    async with Client.open(ClientSettings(store=old)) as client:
        await client.messages.rate("local:old", "m_1", Rating(value=5))
        await client.conversations.update_status(
            "local:old", Status.COMPLETED, rating=Rating(value=4, feedback="Good")
        )
        figures = await client.conversations.analytics("local:old")
        titled = await client.conversations.generate_title("local:old", force=True)

    assert (figures.duration_seconds, figures.response_seconds_median) == (5, 5)
    assert (figures.rating, figures.message_rating) == (4, 5)
    assert titled.title == "What about Acme"


async def test_a_file_of_version_5_opens_with_all_its_conversations(version_5: Path) -> None:
    """Lists, search, branches, ratings, the journal and idempotency keys are as that version left them."""
    async with Client.open(ClientSettings(store=version_5)) as client:
        listed = await client.conversations.list(ConversationQuery(metadata={"team": "sales"}, source="web"))
        (conversation,) = listed.items
        found = await client.search.messages(SearchQuery(text="june bolt"))
        newest = await client.messages.list(conversation.id)
        first = await client.messages.list(conversation.id, MessageQuery(branch="main"))
        entries = (await client.conversations.events(conversation.id)).entries
        repeated = await client.runs.start(
            NewConversation(
                agent="local:archivist",
                title="Renewals",
                metadata={"team": "sales"},
                entity_type="lead",
                source="web",
                source_ref="form-7",
            ),
            MessageDraft(text="remember Acme renews in May, says Bolt."),
            idempotency_key="key-1",
        )
        with pytest.raises(NotFoundError, match="was deleted on 2025-02-19"):
            await client.conversations.get("local:94dtqye1r6")

    assert (conversation.title, conversation.entity_type, conversation.message_count) == (
        "Renewals",
        "lead",
        3,
    )
    assert [hit.message_id for hit in found.hits] == ["m_z9phcs9a06"]
    assert [(one.text, one.rating) for one in newest.items] == [
        ("remember Acme renews in June, says Bolt.", Rating(value=4, feedback="Good"))
    ]
    assert [one.text for one in first.items] == [
        "remember Acme renews in May, says Bolt.",
        "Kept (6 words); you can ask me to find or quote it.",
    ]
    assert [entry.seq for entry in entries] == list(range(1, 11))
    assert repeated.conversation.id == conversation.id


async def test_a_request_that_version_5_asked_can_be_settled(version_5: Path) -> None:
    """It has no data of its platform's, and its run continues."""
    async with Client.open(ClientSettings(store=version_5)) as client:
        (request,) = await client.runs.pending()
        run = await client.runs.respond(request.id, Settlement(decision=Decision.APPROVE))
        result = await client.runs.wait(run, timeout=10)
        archived = await client.conversations.list(ConversationQuery(archived=True))

    assert request.data == {}
    assert result.run.status is RunStatus.COMPLETED
    assert [one.title for one in archived.items] == ["Renewals"]


async def test_a_file_of_this_version_has_the_same_tables_whether_it_was_new_or_old(old: Path) -> None:
    """Column by column and index by index."""

    def described(tx: Transaction) -> set[tuple[object, ...]]:
        return set(tx.all("SELECT type, name, tbl_name, sql FROM sqlite_schema"))

    async with Store(old) as store:
        brought = await store.read(described)
    async with Store(old.with_name("new.db")) as store:
        assert await store.read(described) == brought


async def test_an_older_version_refuses_the_file_afterwards(old: Path) -> None:
    """Rather than writing rows that lack something."""
    async with Store(old) as store:
        await store.read(lambda tx: tx.one("SELECT 1"))
    with pytest.raises(StoreError, match="newer Tertulia"):
        async with Store(old, engine=partial(SqliteEngine, steps=STEPS[:1])) as store:
            await store.read(lambda tx: tx.one("SELECT 1"))
