"""Leases: one process at a time works on a resource, and a process that lost its lease can write nothing more.

A process takes a lease for `TTL` seconds and renews it while it lives. Each taking has an `owner` of its own, and each
takeover raises the `epoch`; every write under a lease checks both in the same transaction (fencing). A lease that is
returned or ended has no row any more.

The machine's clock may be set back. A lease that runs out later than any lease can is then free at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tertulia.store.database import Transaction

TTL = 6.0
"""Seconds after which a lease that was not renewed is free."""
RENEWAL = 2.0
"""Seconds between two renewals."""
LATEST = 60.0
"""Seconds from now after which no lease runs out. One that does is from before the clock was set back: a living owner
renews it in time, and a dead one's is free. By less than this, clocks are set right every day: that frees no lease."""
_AT_ONCE = 500
"""How many leases one statement renews."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was taken. `resource` is a conversation's id, or names an operation in flight."""

    principal: str
    resource: str
    owner: str
    epoch: int


class LostLeaseError(Exception):
    """Raised when another owner has taken the lease, or it was ended from outside."""


def take(tx: Transaction, principal: str, resource: str, owner: str) -> Lease | None:
    """Take a lease, or return None while another owner holds it. `owner` is a name that no other taking has."""
    row = tx.one(
        "INSERT INTO leases (principal, resource, owner, epoch, expires_at) VALUES (?, ?, ?, 1, ?)"
        " ON CONFLICT (principal, resource) DO UPDATE SET owner = excluded.owner, epoch = leases.epoch + 1,"
        " expires_at = excluded.expires_at WHERE leases.owner IS NULL"
        " OR leases.expires_at NOT BETWEEN ? AND ? RETURNING epoch",
        principal,
        resource,
        owner,
        _expiry(tx),
        *alive(tx),
    )
    if row is None:
        return None
    if row[0] > 1:  # taken from somebody, who may not know that it ran out
        tx.touched.add(end_of(resource))
    return Lease(principal, resource, owner, int(row[0]))


def end_of(resource: str) -> str:
    """Return what the holder of a lease watches in order to learn that it has lost it (`Store.watch`)."""
    return f"lease {resource}"


def held(tx: Transaction, principal: str, resource: str) -> bool:
    """Whether a process holds this lease now."""
    row = tx.one(
        "SELECT 1 FROM leases WHERE principal = ? AND resource = ? AND owner IS NOT NULL"
        " AND expires_at BETWEEN ? AND ?",
        principal,
        resource,
        *alive(tx),
    )
    return row is not None


def held_until(tx: Transaction, principal: str, resource: str) -> int | None:
    """Return when a lease runs out unless it is renewed; None where no process holds it."""
    row = tx.one(
        "SELECT expires_at FROM leases WHERE principal = ? AND resource = ? AND owner IS NOT NULL",
        principal,
        resource,
    )
    return None if row is None else int(row[0])


def check(tx: Transaction, lease: Lease) -> None:
    """Check that the owner still has the lease; the transaction that writes under it calls this.

    A lease that ran out is still good until another process takes it.

    Raises:
        LostLeaseError: it is not.
    """
    row = tx.one(
        f"SELECT 1 FROM leases WHERE principal = ? AND resource = ? AND owner = ? AND epoch = ? {tx.row_lock}",
        lease.principal,
        lease.resource,
        lease.owner,
        lease.epoch,
    )
    if row is None:
        raise LostLeaseError(lease.resource)


def renew(tx: Transaction, held: Sequence[Lease]) -> None:
    """Extend those of these leases that their owner still has."""
    for start in range(0, len(held), _AT_ONCE):
        owners = [lease.owner for lease in held[start : start + _AT_ONCE]]
        tx.run(
            f"UPDATE leases SET expires_at = ? WHERE owner IN ({', '.join('?' * len(owners))})",
            _expiry(tx),
            *owners,
        )


def release(tx: Transaction, lease: Lease) -> bool:
    """Return the lease; return whether the owner still had it."""
    return bool(
        tx.changed(
            "DELETE FROM leases WHERE principal = ? AND resource = ? AND owner = ? AND epoch = ?",
            lease.principal,
            lease.resource,
            lease.owner,
            lease.epoch,
        )
    )


def end(tx: Transaction, principal: str, resource: str) -> None:
    """End a lease, whoever holds it: nothing more can be written under it."""
    tx.run("DELETE FROM leases WHERE principal = ? AND resource = ?", principal, resource)
    tx.touched.add(end_of(resource))


def _expiry(tx: Transaction) -> int:
    return tx.at + round(TTL * 1_000_000)


def alive(tx: Transaction) -> tuple[int, int]:
    """Return between which times the leases of living owners run out."""
    return tx.at, tx.at + round(LATEST * 1_000_000)
