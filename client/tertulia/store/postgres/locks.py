"""The locks of transactions that write: advisory ones, which end with their transaction.

Everybody takes them in one order, so that nobody waits in a circle: first the store's, shared, then that of the
principal. Who changes rows of several principals, or the tables, takes the store's alone.
"""

import hashlib

_CLASS = 0x5472746C
"""Tells our locks from those of other programs in the database: "Trtl"."""
_STORE = 0


def lock_store() -> str:
    """Return the statement that locks the whole store."""
    return f"SELECT pg_advisory_xact_lock({_CLASS}, {_STORE})"


def lock_principal(principal: str) -> str:
    """Return the statements that lock what is a principal's.

    Two principals may have the same lock: then they wait for each other.
    """
    digest = hashlib.sha256(principal.encode("utf-8", "surrogatepass")).digest()
    key = int.from_bytes(digest[:4], "big", signed=True) or 1
    return f"SELECT pg_advisory_xact_lock_shared({_CLASS}, {_STORE}); SELECT pg_advisory_xact_lock({_CLASS}, {key})"
