"""A PostgreSQL database in the simulation: a transaction is over between two steps of its process, or is lost with its
connection, before its commit or after it.
"""

from typing import Any

import psycopg
import psycopg.errors

from tertulia.store.notices import Notices
from tertulia.store.postgres.connections import Statements
from tertulia.store.postgres.engine import Pool, PostgresEngine
from tertulia.store.postgres.outcomes import Mark
from tests.simulation.process import CURRENT

LOST = 0.02
"""How often a connection is lost in a commit."""


class SimulatedPostgres(PostgresEngine):
    """The engine of one process, whose threads the simulation takes away."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._simulated = CURRENT.get()
        self._machine = self._simulated.machine

    async def run(self, notices: Notices) -> None:
        """Tell readers of commits, without a connection that listens."""
        await self.opened()
        await notices.poll(self._commits)

    async def _commits(self) -> object:
        await self._simulated.step(0)
        return self._machine.commits

    def _connect(self) -> Pool:
        pool = super()._connect()
        self._simulated.connections.append(pool)
        return pool

    def _commit(self, statements: Statements, touched: set[str], mark: Mark) -> None:
        if self._machine.full:
            raise psycopg.errors.DiskFull("no space left on device")
        if self._machine.happens(LOST):
            if self._machine.chance.random() < 0.5:
                statements.commit()
            self._machine.note(f"the connection of {self._simulated.name} is lost in a commit")
            statements.connection.pgconn.finish()
        super()._commit(statements, touched, mark)
        self._machine.commits += 1
