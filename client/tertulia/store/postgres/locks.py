"""The locks of transactions that write: advisory ones, which end with their transaction.

Everybody takes them in one order, so that nobody waits in a circle: first the store's, shared, then those of
principals by their numbers, then that of a conversation. Who changes rows of anybody, or the tables, takes the store's
alone.
"""

import hashlib

from tertulia.store.engine import Exclusion

_PRINCIPALS = 0x5472746C
"""Tells our locks from those of other programs in the database: "Trtl"."""
_CONVERSATIONS = 0x5472746D
_STORE = 0
_MOST = 50
"""Who writes what is more principals' locks the whole store: the server has room for some thousands of locks."""


def lock_store() -> str:
    """Return the statement that locks the whole store."""
    return f"SELECT pg_advisory_xact_lock({_PRINCIPALS}, {_STORE})"


def lock(exclusion: Exclusion) -> str:
    """Return the statements that lock what nobody else may write.

    Two principals, or conversations, may have the same lock: then they wait for each other.
    """
    principals, conversation_id = exclusion.principals, exclusion.conversation_id
    if principals is None or len(principals) > _MOST:
        return lock_store()
    locks = [f"SELECT pg_advisory_xact_lock_shared({_PRINCIPALS}, {_STORE})"]
    keys = sorted({_key(principal) for principal in principals})
    locks += [f"SELECT pg_advisory_xact_lock({_PRINCIPALS}, {key})" for key in keys]
    if conversation_id is not None:
        locks.append(f"SELECT pg_advisory_xact_lock({_CONVERSATIONS}, {_key(conversation_id)})")
    return "; ".join(locks)


def _key(name: str) -> int:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big", signed=True) or 1
