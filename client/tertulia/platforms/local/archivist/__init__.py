"""`local:archivist`, the agent that is always there: it answers from the user's own history, without a model.

`grammar` parses a message into one of the `commands`. A plan (`plans`) is pure: it yields the calls of tools that a
command needs, is sent their results and returns the answer, put together with `wording`. The `tools` read and change
the store. `agent` carries a plan out and journals it, so that any process can continue where another stopped. `quotes`
withdraws from answers what was quoted of a conversation that is deleted.
"""

from tertulia.platforms.local.archivist.agent import Archivist
from tertulia.platforms.local.archivist.quotes import withdraw_quotes

__all__ = ["Archivist", "withdraw_quotes"]
