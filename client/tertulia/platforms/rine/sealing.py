"""Encryption, signatures and their verification: all of it the vendor's, by its package `rine` (0.13).

Its public client seals and posts in one go, anew each time it is called, and repeats a POST on its own. What we need is
the sealed body itself, so that we can keep it and send exactly that again under its key. So three private parts of the
package are used, and no other:

- `rine._crypto.message.encrypt_message`: signs a payload and seals it for its recipient and for ourselves,
- `rine._crypto.message.decrypt_message_async`: opens one and verifies who signed it; it asks a client, of which it uses
  `get` and `_keys_cache`, for the sender's published keys,
- `rine._crypto.dm_envelope.recipient_keys_from_response` and `rine._crypto._key_cache.KeyCache`: what these two take.

They are imported at the first use (this takes more than half a second) and checked then; the tests hold them against
the vendor's own client, in both directions.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import anyio.to_thread

from tertulia.platforms.rine.mapping import PLATFORM, Unsealed
from tertulia.platforms.rine.settings import PACKAGE
from tertulia.vocabulary.errors import NotConfiguredError, TertuliaError
from tertulia.vocabulary.models import Verification

KEYS_SECONDS = 600.0
"""How long published keys are taken for the present ones; one that does not verify a signature is read anew at once."""
MOST_KEYS = 256
MOST_KEPT = 512
"""How many messages that were opened and verified are remembered, in memory."""


class PublishedKeys:
    """The published keys of agents, as the SDK reads them (`_crypto/_agent_keys.py`).

    An agent whose keys cannot be read is not asked for again: make one of these for each reading of a history.
    """

    def __init__(self, read: Callable[[str], Awaitable[Mapping[str, Any]]], kept: Any) -> None:
        self._read = read
        self._keys_cache = kept
        self._failed: set[str] = set()

    async def get(self, path: str, **_: Any) -> Mapping[str, Any]:
        """Return what `/agents/{id}/keys` answers."""
        agent_id = path.split("/")[2]
        if agent_id not in self._failed:
            try:
                return await self._read(agent_id)
            except TertuliaError:
                self._failed.add(agent_id)
        raise load_sdk().unreachable(f"no keys of {agent_id}")


class Sealer:
    """Seals and opens messages with the keys in the SDK's folder. `read_keys` returns an agent's published keys."""

    def __init__(self, folder: str, read_keys: Callable[[str], Awaitable[Mapping[str, Any]]]) -> None:
        self._folder = folder
        self._read_keys = read_keys
        self._published: Any = None
        self._opened: OrderedDict[tuple[str, bytes], Unsealed] = OrderedDict()

    async def seal(self, sender: str, recipient: str, payload: Mapping[str, Any]) -> dict[str, str]:
        """Return a payload sealed for its recipient and for its sender, by their ids: fields of a body.

        Raises:
            NotFoundError: there is no such recipient.
            NotConfiguredError: the sender's keys cannot be used.
        """
        return await anyio.to_thread.run_sync(self._seal, sender, await self._read_keys(recipient), payload)

    async def open(self, reader: str, rows: Sequence[Mapping[str, Any]]) -> list[Unsealed]:
        """Return the contents of messages that an agent, whose keys are here, got or sent; in their order."""
        sdk = await anyio.to_thread.run_sync(load_sdk)
        if self._published is None:
            self._published = sdk.key_cache(KEYS_SECONDS, MOST_KEYS)
        keys = PublishedKeys(self._read_keys, self._published)
        return [await self._open(sdk, reader, row, keys) for row in rows]

    def _seal(self, sender: str, keys: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, str]:
        sdk = load_sdk()
        try:
            sealed = sdk.encrypt(self._folder, sender, sdk.recipient_keys(keys), payload)
        except (sdk.failure, KeyError) as error:
            # Not quoted: the SDK's sentences may name files and hold bytes of keys.
            raise NotConfiguredError(
                f"A message could not be encrypted for {PLATFORM}: the keys on one side cannot be used.",
                hint=f"Ours are in {self._folder}; `rine onboard` makes such.",
            ) from error
        fields = {
            "encrypted_payload": sealed.encrypted_payload,
            "encryption_version": str(sealed.encryption_version),
            "sender_signing_kid": sealed.sender_signing_kid,
        }
        if sealed.self_encrypted_payload is not None:
            fields["self_encrypted_payload"] = sealed.self_encrypted_payload
        return fields

    async def _open(self, sdk: "Sdk", reader: str, row: Mapping[str, Any], keys: PublishedKeys) -> Unsealed:
        sender = row.get("from_agent_id")
        sealed = row.get("self_encrypted_payload" if sender == reader else "encrypted_payload")
        if not isinstance(sender, str) or not isinstance(sealed, str) or row.get("group_id") is not None:
            return Unsealed(None, Verification.UNREADABLE)
        known = sender, hashlib.sha256(sealed.encode("utf-8", "replace")).digest()
        if known in self._opened:
            self._opened.move_to_end(known)
            return self._opened[known]
        try:
            found = await sdk.decrypt(self._folder, reader, sealed, keys, sender)
            opened = Unsealed(json.loads(found.plaintext), Verification(found.verification_status))
        except sdk.mismatch:
            return Unsealed(None, Verification.SENDER_MISMATCH)
        except sdk.forged:
            return Unsealed(None, Verification.INVALID)
        except (sdk.failure, ValueError, TypeError, RecursionError):
            return Unsealed(None, Verification.UNREADABLE)
        if opened.verification is Verification.VERIFIED:
            self._opened[known] = opened
            while len(self._opened) > MOST_KEPT:
                self._opened.popitem(last=False)
        return opened


class Sdk(NamedTuple):
    """What is used of the vendor's package."""

    encrypt: Callable[..., Any]
    decrypt: Callable[..., Awaitable[Any]]
    recipient_keys: Callable[[Mapping[str, Any]], Any]
    key_cache: Callable[[float, int], Any]
    failure: type[Exception]
    forged: type[Exception]
    mismatch: type[Exception]
    unreachable: type[Exception]


@cache
def load_sdk() -> Sdk:
    """Import what is used of the vendor's package.

    Raises:
        NotConfiguredError: it is not there.
    """
    try:
        message = import_module(f"{PACKAGE}._crypto.message")
        errors = import_module(f"{PACKAGE}.errors")
        return Sdk(
            encrypt=message.encrypt_message,
            decrypt=message.decrypt_message_async,
            recipient_keys=import_module(f"{PACKAGE}._crypto.dm_envelope").recipient_keys_from_response,
            key_cache=import_module(f"{PACKAGE}._crypto._key_cache").KeyCache,
            failure=errors.RineError,
            forged=errors.SignatureVerificationError,
            mismatch=errors.SenderMismatchError,
            unreachable=errors.APIConnectionError,
        )
    except (ImportError, AttributeError) as error:
        raise NotConfiguredError(
            f"{PLATFORM}'s package is not installed, or not in a release that is known here.",
            hint="Install the one that is: `pip install 'tertulia[rine]'`.",
        ) from error
