"""What a proxy or a supervisor asks: whether the process serves at all, and whether it can serve a call now."""

import logging

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import TertuliaError
from tertulia_server.app import Server
from tertulia_server.http_access import HEALTH, READY, UNAVAILABLE

logger = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""How long what the store said is repeated: anybody may ask, and the store has better things to do."""
PATIENCE = 5.0
"""How many seconds the store may take to answer."""


class Readiness:
    """Whether calls can be served now: the server runs, does not stop, and its store answers."""

    def __init__(self, server: Server, clock: Clock = SYSTEM_CLOCK) -> None:
        self._server = server
        self._clock = clock
        self._asking = anyio.Lock()
        self._asked_at = float("-inf")
        self._answered = False

    async def check(self) -> bool:
        """Return whether calls can be served; the log says why not."""
        if self._server.stopping or self._server.state is None:
            return False
        async with self._asking:
            if self._clock.now() - self._asked_at >= FRESH_SECONDS:
                self._answered = await self._store_answers()
                self._asked_at = self._clock.now()
        return self._answered

    async def _store_answers(self) -> bool:
        state = self._server.state
        assert state is not None
        with self._clock.move_on_after(PATIENCE):
            try:
                await state.client.check_store()
            except TertuliaError:
                logger.warning("the store cannot be used", exc_info=True)
                return False
            return True
        logger.warning("the store did not answer within %g seconds", PATIENCE)
        return False


def serve_health(server: Server) -> None:
    """Serve `/healthz` and `/readyz`. They ask for no caller, and tell nothing else."""
    readiness = Readiness(server)

    @server.custom_route(HEALTH, methods=["GET"])
    async def healthz(_: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction] - the decorator keeps it
        return JSONResponse({"status": "ok"})

    @server.custom_route(READY, methods=["GET"])
    async def readyz(_: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction] - the decorator keeps it
        if await readiness.check():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "unavailable"}, UNAVAILABLE, {"Retry-After": "5"})
