"""Which addresses mean this machine or a private network, and which URLs nobody else can read or change."""

import ipaddress
import socket
from urllib.parse import urlsplit

import anyio


def is_loopback(host: str) -> bool:
    """Return whether a name or an address, an IPv6 address without brackets, can only mean this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_safe_url(url: str) -> bool:
    """Return whether nobody on the way to a URL can read or change what is sent: it is encrypted, or stays here."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


async def is_public(host: str) -> bool:
    """Return whether a name or an address leads to addresses of the public internet alone.

    Raises:
        OSError: the name is not known here.
    """
    found = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]
    return all((getattr(address, "ipv4_mapped", None) or address).is_global for address in addresses)
