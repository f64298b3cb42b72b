"""What the tests of the tools can ask for."""

from tests.doubles.hosts import connect, connect_in_memory

__all__ = ["connect", "connect_in_memory"]
