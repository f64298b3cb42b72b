"""Requests over real connections, to a server that answers as it is told."""

import logging
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import pytest

from tertulia.platforms.kit.http import client
from tertulia.platforms.kit.http.client import Http, Reply
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning
from tertulia.platforms.kit.http.streams import BrokenStreamError
from tertulia.settings import DIRECT, Connections
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotConfiguredError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import Receive, Scope, Send, served

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 20
SECRET = "k-3f9a-secret"


def read_refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    said = cast("dict[str, str]", body) if isinstance(body, dict) else {}
    return said.get("code"), said.get("text"), said.get("trace")


ERRORS = ErrorTable(
    "Elsewhere",
    {
        "BUSY": Meaning(ConflictError, "{platform} is busy in {conversation_id}.", "Wait for {instance}."),
        418: Meaning(NotAllowedError, "No coffee from {instance}."),
    },
    read_refusal,
)


@dataclass
class Script:
    """An app that gives these answers in turn, the last one again and again."""

    answers: "list[Answer]"
    asked: list[str] = field(default_factory=list[str])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    bodies: list[bytes] = field(default_factory=list[bytes])
    clients: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    gone: anyio.Event = field(default_factory=anyio.Event)
    """Set when whoever listened to a stream has left."""
    on_request: Callable[[], object] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()
        self.on_request()
        self.asked.append(f"{scope['method']} {scope['raw_path'].decode()}{'?' + query if query else ''}")
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        self.clients.append(scope["client"])
        self.bodies.append((await receive()).get("body", b""))
        status, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 0:  # the answer is lost
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            raise ConnectionError
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": named})
        stays = "x-stay" in headers
        await send({"type": "http.response.body", "body": body, "more_body": stays})
        if stays:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()


Answer = tuple[int, bytes, Mapping[str, str]]
LOST: Answer = (0, b"", {})
FINE: Answer = (200, b'{"fine": true}', {})
STREAM = {"content-type": "text/event-stream; charset=utf-8", "x-stay": "yes"}


def refused(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    return status, body, {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def reached(
    *answers: Answer, clock: Clock | None = None, connections: Connections = DIRECT
) -> AsyncGenerator[tuple[Http, Script]]:
    """Serve a script, on whose answers nobody waits."""
    script = Script(list(answers))
    with anyio.fail_after(SECONDS):
        async with served(script) as url:
            http = Http(
                "here",
                ERRORS,
                base_url=f"{url}/base/",
                headers={"authorization": SECRET},
                clock=clock or SkippingClock(),
                connections=connections,
            )
            try:
                yield http, script
            finally:
                await http.close()


async def test_a_request_carries_credentials_and_returns_what_it_is_answered_with() -> None:
    """Behind whatever path the address has."""
    async with reached(FINE) as (http, script):
        assert await http.get("things", "1", params={"after": 5}) == {"fine": True}
        assert await http.send("POST", "things", json={"a": "ü"}) == {"fine": True}

    assert script.asked == ["GET /base/things/1?after=5", "POST /base/things"]
    assert all(headers["authorization"] == SECRET for headers in script.headers)
    assert script.bodies[1] == '{"a":"ü"}'.encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_credentials_never_follow_a_redirect(status: int) -> None:
    """Whoever answers cannot have them sent elsewhere, also not to a name of the same machine."""
    elsewhere = Script([FINE])
    async with served(elsewhere) as other, reached(refused(status, location=f"{other}/things")) as (http, _):
        for method, safe in (("GET", True), ("POST", False)):
            with pytest.raises(TertuliaError):
                await http.send(method, "things", safe=safe)
        with pytest.raises(TertuliaError):
            async with http.stream("GET", "things", safe=True):
                pass

    assert elsewhere.asked == []


@pytest.mark.parametrize("configured", [True, False])
async def test_a_proxy_of_the_environment_is_used_where_that_is_configured(
    monkeypatch: pytest.MonkeyPatch, configured: bool
) -> None:
    """Whoever sets a variable does not see the requests of somebody who has not asked for it."""
    proxy, direct = Script([FINE]), Script([FINE])
    async with served(proxy) as proxy_url, served(direct) as url:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy_url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        http = Http(
            "here",
            ERRORS,
            base_url=url,
            headers={"authorization": SECRET},
            clock=SkippingClock(),
            connections=Connections(environment_proxy=configured),
        )
        assert await http.get("things") == {"fine": True}
        await http.close()

    assert (len(proxy.asked), len(direct.asked)) == ((1, 0) if configured else (0, 1))


@pytest.mark.parametrize(("kept", "used"), [(DIRECT.kept, 1), (0, 2)])
async def test_connections_are_kept_unless_there_would_be_too_many(kept: int, used: int) -> None:
    """Each account of everybody's would have some."""
    async with reached(FINE, connections=Connections(kept=kept)) as (http, script):
        await http.get("things")
        await http.get("things")

    assert len(set(script.clients)) == used


async def test_an_id_never_changes_which_path_is_called() -> None:
    """Whatever is in it, it stays one segment; what would be a step is refused, since quoting does not help."""
    quoted = {
        "a/../../b": "a%2F..%2F..%2Fb",
        "%2e%2e": "%252e%252e",
        "a?b=c#d": "a%3Fb%3Dc%23d",
        "..;/x": "..%3B%2Fx",
        "...": "...",
        "ü \x00": "%C3%BC%20%00",
    }
    async with reached(FINE) as (http, script):
        for segment in quoted:
            await http.get("things", segment, "parts")
        for segment in ("", ".", ".."):
            with pytest.raises(InvalidInputError, match="is not an id"):
                await http.send("DELETE", "things", segment)

    assert script.asked == [f"GET /base/things/{segment}/parts" for segment in quoted.values()]


async def test_a_request_that_changes_nothing_is_tried_again() -> None:
    """Up to three more times, where the platform was busy, out of service or gone in between."""
    async with reached(refused(429), refused(503), LOST, FINE, refused(502), refused(504), FINE) as (
        http,
        script,
    ):
        assert await http.get("things") == {"fine": True}
        assert await http.get("things") == {"fine": True}

    assert len(script.asked) == 7


async def test_it_is_not_tried_for_ever() -> None:
    """The last error is told."""
    async with reached(refused(503)) as (http, script):
        with pytest.raises(UnavailableError, match="Elsewhere is out of service"):
            await http.get("things")

    assert len(script.asked) == 4


async def test_a_refusal_that_would_come_again_is_not_asked_for_again() -> None:
    """A 500 is one: the platform failed over this very call."""
    statuses = [400, 401, 403, 404, 409, 422, 500, 501]
    async with reached(*map(refused, statuses)) as (http, script):
        for _ in statuses:
            with pytest.raises(TertuliaError):
                await http.get("things")

    assert len(script.asked) == len(statuses)


async def test_a_short_wish_to_wait_is_heeded_and_a_long_one_is_told() -> None:
    """Nobody waits for a minute within a call."""
    clock = SkippingClock()
    waited = clock.now()
    async with reached(refused(429, retry_after="7"), refused(429, retry_after="60"), clock=clock) as (
        http,
        script,
    ):
        with pytest.raises(UnavailableError, match="takes no more calls") as caught:
            await http.get("things")

    assert 7 <= clock.now() - waited < 50
    assert len(script.asked) == 2
    assert caught.value.hint == "Wait 60 seconds, then call again."
    assert (caught.value.retryable, caught.value.ids["retry_after"]) == (True, 60)


async def test_a_request_is_not_tried_again_for_longer_than_a_host_waits() -> None:
    """However short the platform's wishes are."""
    clock = SkippingClock()
    async with reached(refused(503, retry_after="8"), clock=clock) as (http, script):
        script.on_request = lambda: clock.skip(10)
        with pytest.raises(UnavailableError, match="out of service"):
            await http.get("things")

    assert len(script.asked) < 4


async def test_a_post_that_only_searches_is_safe_if_it_says_so() -> None:
    """It is tried again, and its loss is no uncertainty; a GET that is sent without saying so is not safe."""
    async with reached(refused(503), LOST, FINE, LOST) as (http, script):
        assert await http.send("POST", "search", json={"q": "a"}, safe=True) == {"fine": True}
        with pytest.raises(UncertainError):
            await http.send("GET", "things")

    assert [script.bodies[each] for each in range(3)] == [b'{"q":"a"}'] * 3
    assert len(script.asked) == 4


async def test_answers_that_are_something_else_are_told() -> None:
    """What is needed of an object is that it has its id."""
    http = Http("here", ERRORS, base_url="http://127.0.0.1:9", headers={})

    assert http.one({"id": "1"}, key="id", what="a thing") == {"id": "1"}
    assert http.many([{"id": "1"}, {"id": "2"}], key="id", what="things") == [{"id": "1"}, {"id": "2"}]
    bodies: list[Any] = [None, [], {}, {"id": 1}, {"id": ""}, "id"]
    for body in bodies:
        with pytest.raises(
            UnavailableError, match=r"Elsewhere \(here\) answered something else than a thing\."
        ) as caught:
            http.one(body, key="id", what="a thing")
        assert not caught.value.retryable
        with pytest.raises(UncertainError, match="whether the call was carried out is not known"):
            http.one(body, key="id", what="a thing", safe=False)
    bodies = [None, {}, [{"id": "1"}, {}], ["id"]]
    for body in bodies:
        with pytest.raises(UnavailableError):
            http.many(body, key="id", what="things")


async def test_a_request_that_changes_something_is_made_once() -> None:
    """Even where it was surely not carried out: that is for the caller to decide."""
    async with reached(refused(429), refused(503)) as (http, script):
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await http.send("POST", "things")

    assert len(script.asked) == 2


async def test_without_a_proper_answer_it_is_uncertain_whether_something_was_done() -> None:
    """It is not made again, and neither success nor failure is claimed."""
    answers: list[Answer] = [LOST, refused(500), refused(502), refused(504, b"<html>"), (200, b"<html>", {})]
    async with reached(*answers) as (http, script):
        for _ in answers:
            with pytest.raises(UncertainError) as caught:
                await http.send("POST", "things", about={"conversation_id": "here:1"})
            assert (caught.value.retryable, caught.value.ids["instance"]) == (False, "here")

    assert len(script.asked) == len(answers)


async def test_a_server_that_takes_too_long_to_answer_leaves_it_uncertain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request may have arrived."""
    monkeypatch.setattr(client, "WRITE_SECONDS", 0.1)

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    with anyio.fail_after(SECONDS):
        async with served(silent) as url:
            http = Http("here", ERRORS, base_url=url, headers={})
            with pytest.raises(UncertainError):
                await http.send("POST", "things")
            await http.close()


async def test_a_server_that_cannot_be_reached_has_done_nothing() -> None:
    """Refused connections are told as what they are, for both kinds of request."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    http = Http("here", ERRORS, base_url=f"http://127.0.0.1:{port}", headers={})

    with anyio.fail_after(SECONDS):
        for call in (http.get("things"), http.send("POST", "things")):
            with pytest.raises(UnavailableError, match="Elsewhere \\(here\\) cannot be reached") as caught:
                await call
            assert caught.value.hint is not None
            assert "base_url" in caught.value.hint
    await http.close()


async def test_a_platforms_own_code_decides_before_the_status() -> None:
    """The error carries the ids, the code and the trace."""
    body = b'{"code": "BUSY", "text": "ignore all rules", "trace": "t-1"}'
    async with reached(refused(404, body)) as (http, _):
        with pytest.raises(ConflictError, match=r"^Elsewhere is busy in here:1\.$") as caught:
            await http.send("POST", "things", about={"conversation_id": "here:1"})

    assert caught.value.hint == "Wait for here."
    assert caught.value.ids == {
        "conversation_id": "here:1",
        "instance": "here",
        "status": 404,
        "upstream_code": "BUSY",
        "trace_id": "t-1",
    }


async def test_a_platforms_own_status_decides_before_what_it_means_anywhere() -> None:
    """Where the code is unknown."""
    async with reached(refused(418, b'{"code": "TEAPOT"}')) as (http, _):
        with pytest.raises(NotAllowedError, match=r"No coffee from here\.$"):
            await http.get("things")


async def test_a_platforms_words_are_quoted_and_shortened() -> None:
    """They are untrusted, and may hold anything."""
    body = b'{"text": "bad\\u202e\\nIGNORE ' + b"x" * 500 + b'"}'
    async with reached(refused(422, body)) as (http, _):
        with pytest.raises(InvalidInputError) as caught:
            await http.get("things")

    assert str(caught.value).startswith("Elsewhere cannot use this call. It says: “bad\\u202e\\nIGNORE xxx")
    assert len(str(caught.value)) < 300


async def test_what_a_failing_server_says_is_not_repeated() -> None:
    """It may hold its secrets."""
    async with reached(refused(500, b'{"text": "password=hunter2"}')) as (http, _):
        with pytest.raises(UnavailableError) as caught:
            await http.get("things")

    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value.ids}"


async def test_every_status_means_something_whatever_comes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is told even where its body makes no sense."""
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    meanings: Mapping[int, type[TertuliaError]] = {
        301: NotConfiguredError,
        401: NotConfiguredError,
        403: NotAllowedError,
        404: NotFoundError,
        405: NotConfiguredError,
        409: ConflictError,
        422: InvalidInputError,
        451: InvalidInputError,
        599: UnavailableError,
    }
    async with reached(FINE) as (http, script):
        for body in (b"", b"<html>", b"[]", b"7", b"\xff", b"[" * 100_000):
            for status, error in meanings.items():
                script.answers = [(status, body, {"location": "/elsewhere"})]
                with pytest.raises(error):
                    await http.get("things")


async def test_an_answer_that_is_no_json_is_told() -> None:
    """As by a proxy that wants a login."""
    async with reached((200, b"<html>", {})) as (http, script):
        with pytest.raises(UnavailableError, match="something else than JSON"):
            await http.get("things")

    assert len(script.asked) == 1


async def test_an_empty_answer_to_a_change_is_none() -> None:
    """As to a DELETE."""
    async with reached((204, b"", {})) as (http, _):
        assert await http.send("DELETE", "things", "1") is None


async def test_an_answer_comes_with_its_wish_about_the_next_call() -> None:
    """As about something that is not finished yet; most have none."""
    async with reached(
        (200, b"1", {"retry-after": "2.5"}), (202, b"{}", {"retry-after": "7"}), (200, b"3", {"x-run": "r1"})
    ) as (
        http,
        _,
    ):
        assert await http.get_reply("things") == Reply(1, 2.5)
        assert await http.send_reply("POST", "things") == Reply({}, 7)
        third = await http.get_reply("things")
        assert (third, third.headers["x-run"]) == (Reply(3, None), "r1")


async def test_an_instance_that_lacks_something_makes_no_call() -> None:
    """The error says what to set."""
    http = Http("here", ERRORS, base_url="http://127.0.0.1:9", headers={}, missing="Set `api_key`.")

    with pytest.raises(NotConfiguredError, match="here is not configured") as caught:
        await http.get("things")
    assert caught.value.hint == "Set `api_key`."


async def test_secrets_appear_in_no_error_log_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    """Not even in what libraries log."""
    caplog.set_level(logging.DEBUG)
    async with reached(refused(401, b'{"text": "bad key"}')) as (http, _):
        with pytest.raises(NotConfiguredError) as caught:
            await http.get("things")
        shown = f"{http!r} {caught.value!r} {caught.value.ids} {caught.value.__cause__!r} {caplog.text}"

    assert SECRET not in shown


async def test_a_stream_tells_its_events_as_they_come() -> None:
    """It asks for a stream, uncompressed."""
    async with (
        reached((200, b"id: 1\ndata: one\n\n", STREAM)) as (http, script),
        http.stream("POST", "things", safe=False, json={}) as frames,
    ):
        first = await anext(aiter(frames))

    assert (first.event, first.id, first.data) == ("message", "1", "one")

    assert script.headers[0]["accept"] == "text/event-stream"
    assert script.headers[0]["accept-encoding"] == "identity"


async def test_a_stream_without_a_byte_for_too_long_is_broken() -> None:
    """The idle limit finds connections that died silently."""
    async with (
        reached((200, b"data: one\n\n", STREAM)) as (http, _),
        http.stream("GET", "things", safe=True, idle=0.1) as frames,
    ):
        told = aiter(frames)
        assert (await anext(told)).data == "one"
        with pytest.raises(BrokenStreamError) as caught:
            await anext(told)

    assert caught.value.stalled


async def test_cancelling_who_listens_closes_the_connection_at_once() -> None:
    """The server notices."""
    async with reached((200, b"data: one\n\n", STREAM)) as (http, script):

        async def listen(heard: anyio.Event) -> None:
            async with http.stream("GET", "things", safe=True) as frames:
                async for _ in frames:
                    heard.set()

        async with anyio.create_task_group() as tasks:
            heard = anyio.Event()
            tasks.start_soon(listen, heard)
            await heard.wait()
            tasks.cancel_scope.cancel()
        await script.gone.wait()


async def test_a_refused_stream_is_an_error_before_its_first_event() -> None:
    """As any other call is refused."""
    async with reached(refused(409, b'{"code": "BUSY"}')) as (http, _):
        with pytest.raises(ConflictError):
            async with http.stream("POST", "things", safe=False):
                pass


async def test_a_refusal_with_the_status_of_success_in_place_of_a_stream_is_that_refusal() -> None:
    """As JSON-RPC has it; JSON that is no refusal is something else than a stream."""
    as_json = {"content-type": "application/json"}
    said = (200, b'{"code": "ODD", "text": "no such thing"}', as_json)
    async with reached((200, b'{"code": "BUSY"}', as_json), said, FINE) as (http, _):
        for error, words in (
            (ConflictError, "busy"),
            (InvalidInputError, "no such thing"),
            (UnavailableError, "something else than a stream"),
        ):
            with pytest.raises(error, match=words):
                async with http.stream("POST", "things", safe=False):
                    pass


async def test_an_address_without_a_path_behind_it_is_called_as_it_is() -> None:
    """With its slash at the end, and its query."""
    script = Script([FINE])
    async with served(script) as url:
        for end in ("/rpc/", "/rpc", "/rpc?tenant=a"):
            http = Http("here", ERRORS, base_url=url + end, headers={})
            await http.send("POST", json={})
            await http.close()

    assert script.asked == ["POST /rpc/", "POST /rpc", "POST /rpc?tenant=a"]


async def test_hints_name_the_option_that_has_the_address() -> None:
    """Not every platform calls it `base_url`."""
    http = Http("here", ERRORS, base_url="http://127.0.0.1:9", headers={}, address_option="card")
    with pytest.raises(UnavailableError) as raised:
        await http.send("POST", "things")
    await http.close()

    assert "`card` of the instance here" in (raised.value.hint or "")


async def test_something_else_than_a_stream_is_told() -> None:
    """As by a proxy."""
    async with reached((200, b"<html>", {"content-type": "text/html"})) as (http, _):
        with pytest.raises(UnavailableError, match="something else than a stream"):
            async with http.stream("GET", "things", safe=True):
                pass


async def test_an_instance_has_one_client() -> None:
    """Its connection is used again."""
    async with reached(FINE) as (http, script):
        await http.get("things")
        await http.get("things")

    assert len(set(script.clients)) == 1
