"""What must hold of every schedule: the promises of docs/promises.md, as a reader of the store sees them."""

import json
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import apsw

from tertulia import RunStatus
from tertulia.runs.runner import FAULT
from tertulia.store.postgres.connections import connect, translation
from tertulia.store.postgres.schema import SCHEMA
from tertulia.vocabulary.events import EventKind
from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tests.simulation.upstream import KIND
from tests.simulation.world import World

ENDS = {
    EventKind.RUN_FINISHED,
    EventKind.RUN_ERROR,
    EventKind.RUN_CANCELED,
    EventKind.RUN_INTERRUPTED,
}


Rows = Callable[..., list[tuple[Any, ...]]]
"""Returns what a statement finds with some values."""


def check(world: World) -> None:
    """Check a schedule that has come to its end."""
    with _looking(world.store) as rows:
        Checker(world, rows).check()


@contextmanager
def _looking(store: StoreLocation) -> Generator[Rows]:
    """Look into a store without its engine."""
    if isinstance(store, PostgresUrl):
        with connect(store) as database:
            database.execute(f"SET search_path = {SCHEMA}".encode())

            def found(sql: str, *values: Any) -> list[tuple[Any, ...]]:
                return database.execute(translation(sql), values).fetchall()

            yield found
        return
    file: Any = apsw.Connection(str(store))
    try:
        assert list(file.execute("PRAGMA integrity_check")) == [("ok",)]

        def found_here(sql: str, *values: Any) -> list[tuple[Any, ...]]:
            return list(file.execute(sql, values))

        yield found_here
    finally:
        file.close()


class Checker:
    """Checks one world."""

    def __init__(self, world: World, rows: Rows) -> None:
        self._world = world
        self._rows = rows
        self._texts = Counter(
            str(text) for (text,) in self._rows("SELECT text FROM messages WHERE role = 'user'")
        )

    def check(self) -> None:
        """Check everything."""
        self._check_journals()
        self._check_runs()
        self._check_sendings()
        self._check_decisions()
        self._check_readers()
        assert self._rows("SELECT * FROM leases WHERE owner IS NULL") == []

    def _check_journals(self) -> None:
        """No journal has a gap, and its conversation's counter is that of its last entry."""
        for conversation_id, last in self._rows("SELECT id, last_seq FROM conversations"):
            seqs = [
                seq
                for (seq,) in self._rows(
                    "SELECT seq FROM journal WHERE conversation_id = ? ORDER BY seq", conversation_id
                )
            ]
            assert seqs == list(range(1, last + 1)), f"{conversation_id} has a gap: {seqs}"

    def _check_runs(self) -> None:
        """Every run has come to one end, after which nothing more was written about it; none had a fault of ours."""
        assert self._rows("SELECT id FROM runs WHERE error = ?", FAULT) == []
        for run_id, status in self._rows("SELECT id, status FROM runs"):
            assert not RunStatus(status).active, f"{run_id} is still {status}"
            kinds = [
                EventKind(kind)
                for (kind,) in self._rows("SELECT kind FROM journal WHERE run_id = ? ORDER BY seq", run_id)
            ]
            ends = [number for number, kind in enumerate(kinds) if kind in ENDS]
            assert len(ends) == 1, f"{run_id} ended {len(ends)} times"
            late = set(kinds[ends[0] + 1 :]) - {
                EventKind.STATUS_CHANGED,
                EventKind.TOOL_CONFIRMATION_RESOLVED,
            }
            assert not late, f"{run_id} has {late} after its end"

    def _check_sendings(self) -> None:
        """An acknowledged message is recorded once, any other once at most; no platform has taken one twice."""
        for sending in self._world.sendings:
            recorded = self._texts[sending.text]
            assert recorded <= 1, f"{sending.text!r} is recorded {recorded} times"
            if sending.acknowledged:
                assert recorded == 1, f"{sending.text!r} is lost"
            if sending.agent.startswith(KIND):
                self._check_taken(sending.text)

    def _check_taken(self, text: str) -> None:
        taken = self._world.upstream.taken(text)
        assert taken <= 1, f"{text!r} was sent {taken} times"
        found = self._rows(
            "SELECT runs.status, runs.error, reply.text FROM runs"
            " JOIN messages ON messages.id = runs.message_id AND messages.conversation_id = runs.conversation_id"
            " LEFT JOIN messages AS reply ON reply.id = runs.reply_id AND reply.conversation_id = runs.conversation_id"
            " WHERE messages.text = ?",
            text,
        )
        for status, error, reply in found:
            turns = [turn for turns in self._world.upstream.conversations.values() for turn in turns]
            own = [turn for turn in turns if turn.text == text]
            replies = [turn.reply for turn in own]
            if status == RunStatus.COMPLETED:
                assert [reply] == replies, f"{text!r} was answered by {reply!r}, not by {replies}"
            elif status == RunStatus.FAILED:
                assert error, f"{text!r} failed without a reason"
                # What a process sends that stood still, another one has given up meanwhile: as uncertain.
                late = all(turn.late for turn in own) and "does not show it" in error
                assert not own or late, f"{text!r} failed though it was taken: {error}"

    def _check_decisions(self) -> None:
        """What was approved was executed once at most, and what was rejected never."""
        for turns in self._world.upstream.conversations.values():
            for turn in turns:
                assert turn.executed == (turn.decision is True), (
                    f"{turn.text!r}: executed {turn.executed} times"
                )
        for run_id, upstream_id, count in self._rows(
            "SELECT run_id, upstream_id, count(*) FROM requests WHERE upstream_id IS NOT NULL GROUP BY 1, 2"
        ):
            assert count == 1, f"{run_id} asked {count} times about {upstream_id}"
        assert self._rows("SELECT id FROM requests WHERE status = 'pending'") == []

    def _check_readers(self) -> None:
        """What a reader saw by cursor is what the journal has, without a gap."""
        for seen in self._world.seen:
            if seen.entries:
                first, last = seen.entries[0][0], seen.entries[-1][0]
                stored = self._rows(
                    "SELECT seq, kind, data FROM journal WHERE conversation_id = ? AND seq BETWEEN ? AND ?"
                    " ORDER BY seq",
                    *(seen.conversation_id, first, last),
                )
                same = [
                    (seq, kind, json.dumps(json.loads(data), sort_keys=True)) for seq, kind, data in stored
                ]
                assert seen.entries == same, f"a reader of {seen.conversation_id} saw something else"
