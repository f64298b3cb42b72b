"""The store's tables, which are the same on every engine; each engine's own `schema` creates them.

Times are microseconds since 1970 in UTC, structured values are JSON text, every row stands under its principal.

`messages.position` is the message's time (`POSITION_BITS`), so that the full-text index, which walks its row ids,
yields the newest first and cuts a span of time without looking at a single message. `messages.scope` has the words
under which it finds the messages of one principal, instance, agent or conversation (`tertulia.store.index.base.scope`).
What is long stands last in a row, so that the rest is read without it. `messages.timed` is false where a platform
does not tell when something was said: `created_at` is then when it was first seen.

A branch has the messages that were written on it (`messages.branch`; the first is `main` and has no row in `branches`),
and those of its parent up to the position `shared` (see `tertulia.store.branches`).

`number` of a table says in which order its rows came.

`imported_titles` has the titles that imports gave: a conversation that still has that one follows later renames.

`tertulia.store.index` explains the tables of the full-text index, which each engine has of its own.

`messages.unindexed` has the text of a message that is shown and that no search finds; its `text` is null.

`imported_files` has the state of each followed file at its last import, so that only what changed is read again.

`tertulia.store.sync_state` explains the columns of `syncs` and `synced_conversations`.
"""

POSITION_BITS = 16
"""A message's position is its time in milliseconds, shifted by this, plus a counter."""
