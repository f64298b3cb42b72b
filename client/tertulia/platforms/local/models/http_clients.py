"""The HTTP clients of one answer, by which its model and the servers of its tools are asked."""

from inspect import signature
from typing import Any, Self

import anyio
import httpx
import httpx2
from pydantic_ai.providers import Provider, infer_provider_class
from pydantic_ai.providers.gateway import gateway_provider  # pyright: ignore[reportUnknownVariableType] - of providers that are not installed

from tertulia.platforms.kit.http.client import CONNECT_SECONDS, trusted

MODEL_SECONDS = 600.0
"""How long a model may be silent; the answer has a limit of its own, which is shorter unless it is configured."""
SERVER_SECONDS = 300.0
"""How long a server of tools may be silent."""
CLOSING_SECONDS = 5.0
_GATEWAY = "gateway/"
"""How names of providers begin that pydantic-ai's own service is to reach."""


class HttpClients:
    """The HTTP clients of one answer.

    They take the proxy that the environment names only where that is configured. They follow no redirect, by which the
    model's key would get elsewhere. Leaving the context closes them.
    """

    def __init__(self, *, environment_proxy: bool) -> None:
        self._environment_proxy = environment_proxy
        self._opened: list[httpx.AsyncClient | httpx2.AsyncClient] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.move_on_after(CLOSING_SECONDS, shield=True):
            for client in self._opened:
                await client.aclose()

    def provider(self, name: str, **options: Any) -> Provider[Any]:
        """Return a provider of models by its name in pydantic-ai.

        A few providers' libraries take no client, and find a proxy by themselves: Bedrock's, xAI's, Hugging Face's.
        """
        kind = infer_provider_class(name)
        taken = signature(kind).parameters.get("http_client")
        if taken is not None:
            legacy = str(taken.annotation).startswith("httpx.")
            options["http_client"] = self._legacy() if legacy else self._open(MODEL_SECONDS)
        if name.startswith(_GATEWAY):
            return gateway_provider(name.removeprefix(_GATEWAY), **options)
        return kind(**options)

    def of_server(self) -> httpx2.AsyncClient:
        """Return what a server of tools is asked by."""
        return self._open(SERVER_SECONDS)

    def _open(self, seconds: float) -> httpx2.AsyncClient:
        client = httpx2.AsyncClient(
            trust_env=self._environment_proxy,
            verify=trusted(),
            timeout=httpx2.Timeout(seconds, connect=CONNECT_SECONDS),
        )
        self._opened.append(client)
        return client

    def _legacy(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            trust_env=self._environment_proxy,
            verify=trusted(),
            timeout=httpx.Timeout(MODEL_SECONDS, connect=CONNECT_SECONDS),
        )
        self._opened.append(client)
        return client
