"""`tertulia open`: serves the page to this person's browser, until Ctrl-C.

It listens on an address of its own, so that the token goes to no other program that may have taken the usual port. The
browser is told the token by a file that only its owner can read: what a command line says, every user of the machine
sees. From the file it gets into the fragment of the address, which no request carries.
"""

import html
import os
import sys
import webbrowser
from functools import partial
from pathlib import Path
from urllib.parse import quote

import anyio.to_thread

from tertulia.store.private_files import make_folder
from tertulia_server.http import serve
from tertulia_server.settings import Loaded, Source, local_name
from tertulia_server.store_token import store_token

_FOR_ONESELF = {
    "http": True,
    "host": "127.0.0.1",
    "toolsets": (),
    "tools": (),
    "token": True,
    "token_file": None,
    "oauth_issuer": None,
    "public_url": None,
}
"""What a configuration may say for hosts and for others: the page is for whoever runs the command."""
_REDIRECT = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Tertulia</title>
<meta http-equiv="refresh" content="0; url={url}">
<a href="{url}">Tertulia</a>
"""


def open_page(loaded: Loaded) -> int:
    """Serve, open the page in a browser, and return 0 when a signal has ended the server.

    Raises:
        InvalidInputError: see `tertulia_server.http.serve`.
    """
    port = loaded.settings.port if loaded.sources["port"] is Source.FLAG else 0
    settings = loaded.settings.model_copy(update={"port": port, **_FOR_ONESELF})
    named = local_name(settings.store)
    file = named.with_name(f"{named.name}.open.html")
    token = store_token(settings.store)
    how = settings.command("token")
    try:
        serve(settings, beside=partial(_show, token, file, how))
    finally:
        file.unlink(missing_ok=True)
    return 0


async def _show(token: str, file: Path, how: str, address: str) -> None:
    """Open the page in the person's browser; say what to do where there is none: `how` prints the token."""
    _write(file, f"{address}#token={quote(token, safe='')}")
    # A browser in the terminal is there until it is left.
    opened = await anyio.to_thread.run_sync(webbrowser.open, file.as_uri(), abandon_on_cancel=True)
    if not opened:
        print(
            f"No browser was found. Open {address} in one; `{how}` prints what it asks for.",
            file=sys.stderr,
        )


def _write(file: Path, url: str) -> None:
    make_folder(file.parent)
    file.unlink(missing_ok=True)
    with os.fdopen(
        os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as written:
        written.write(_REDIRECT.format(url=html.escape(url)))
