"""`local:archivist`, the agent that is always there: it answers from the user's own history, without a model.

`grammar` reads what it is told. `plans` decides what to do about it and what to say, purely, from the results of the
tools it calls. `tools` reads and changes the store; `summaries`, `timelines` and `similarities` look into more of it at
once, and `telling` says which sentences and words tell most. `agent` carries a plan out and tells the run's journal of
it, so that any process can go on where another stopped.
"""

from tertulia.platforms.local.archivist.agent import Archivist

__all__ = ["Archivist"]
