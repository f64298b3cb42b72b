"""Idempotency records: what a call with an idempotency key has done, so that repeating it does nothing more.

The ids that a call uses are chosen when its record is written, before anything happens. A call that died half-way is
made again with the same ids, so that it finds what the first attempt did.

A record is kept for `KEPT_DAYS`; each new one removes some that are older.
"""

import json
from dataclasses import dataclass
from typing import Any

from tertulia.store.database import Transaction, encode, to_datetime
from tertulia.vocabulary.errors import ConflictError

KEPT_DAYS = 30
"""How long a key is known: after that, the same call is a new one."""
_REMOVED_AT_ONCE = 20
"""How many old records make room for a new one at most: more than one, so that all go at last."""


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """`effect` holds the ids the call uses; `done` says whether it came to its end."""

    key: str
    effect: dict[str, Any]
    done: bool
    first: bool
    """Whether this call wrote the record."""


def enter(
    tx: Transaction, principal: str, key: str, *, operation: str, call_digest: str, effect: dict[str, Any]
) -> IdempotencyRecord:
    """Return the record of `key`; write one with these ids if there is none, or if it is older than `KEPT_DAYS`.

    Raises:
        ConflictError: the key was used for another call.
    """
    _remove_old(tx, principal, key)
    first = tx.changed(
        "INSERT INTO receipts (principal, key, operation, call_digest, effect, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        principal,
        key,
        operation,
        call_digest,
        encode(effect),
        tx.at,
    )
    row = tx.one(
        "SELECT operation, call_digest, effect, done, created_at FROM receipts WHERE principal = ? AND key = ?",
        principal,
        key,
    )
    assert row is not None
    if (row[0], row[1]) != (operation, call_digest):
        same = row[0] == operation
        ids: dict[str, Any] = {
            name: value for name, value in json.loads(row[2]).items() if isinstance(value, str)
        }
        raise ConflictError(
            f"The idempotency key was used on {to_datetime(row[4]):%Y-%m-%d at %H:%M:%S} UTC for "
            + (f"a {operation} with other arguments." if same else f"another call ({row[0]})."),
            hint="Use a new key for a new call; repeat a call with exactly the arguments it had.",
            first_operation=row[0],
            **ids,
        )
    return IdempotencyRecord(key=key, effect=json.loads(row[2]), done=bool(row[3]), first=bool(first))


def find(tx: Transaction, principal: str, key: str) -> IdempotencyRecord | None:
    """Return the record of `key`, if there is one."""
    row = tx.one("SELECT effect, done FROM receipts WHERE principal = ? AND key = ?", principal, key)
    return (
        None
        if row is None
        else IdempotencyRecord(key=key, effect=json.loads(row[0]), done=bool(row[1]), first=False)
    )


def note(tx: Transaction, principal: str, key: str, effect: dict[str, Any]) -> None:
    """Note what the call under this key has done so far, for the next attempt if this one dies."""
    tx.run(
        "UPDATE receipts SET effect = ? WHERE principal = ? AND key = ? AND done = 0",
        encode(effect),
        principal,
        key,
    )


def renew(tx: Transaction, principal: str, key: str, run_id: str, effect: dict[str, Any]) -> bool:
    """Have a call carried out again with these ids, if the one that is done began this run; return whether it was."""
    return bool(
        tx.changed(
            "UPDATE receipts SET done = 0, effect = ? WHERE principal = ? AND key = ? AND done = 1"
            " AND effect ->> 'run_id' = ?",
            encode(effect),
            principal,
            key,
            run_id,
        )
    )


def complete(tx: Transaction, principal: str, key: str, effect: dict[str, Any]) -> None:
    """Note that the call under this key has done all it does; `effect` may have grown."""
    tx.run(
        "UPDATE receipts SET done = 1, effect = ? WHERE principal = ? AND key = ?",
        encode(effect),
        principal,
        key,
    )


def forget(tx: Transaction, principal: str, key: str) -> None:
    """Delete the record of a call that has ended: the same call is a new one from now on."""
    tx.run("DELETE FROM receipts WHERE principal = ? AND key = ? AND done = 1", principal, key)


def withdraw(tx: Transaction, principal: str, key: str) -> None:
    """Delete the record of a call that was refused and did nothing: repeating the call may succeed."""
    tx.run("DELETE FROM receipts WHERE principal = ? AND key = ? AND done = 0", principal, key)


def _remove_old(tx: Transaction, principal: str, key: str) -> None:
    """Remove records that are no longer kept: that of `key`, and some of the oldest."""
    before = tx.at - KEPT_DAYS * 24 * 3600 * 1_000_000
    tx.run("DELETE FROM receipts WHERE principal = ? AND key = ? AND created_at < ?", principal, key, before)
    tx.run(
        "DELETE FROM receipts WHERE (principal, key) IN"
        " (SELECT principal, key FROM receipts WHERE created_at < ? ORDER BY created_at LIMIT ?)",
        before,
        _REMOVED_AT_ONCE,
    )
