"""The tables in PostgreSQL, as steps from one version of the schema to the next (see `tertulia.store.schema`).

All is in a schema of its own, so that the database may be another program's, too. `meta` has the version: the number of
steps that were taken. Steps are never edited once they were released, only added.

The columns are those of SQLite's tables, in the same order. Texts are compared byte by byte, as SQLite does. The
functions and the operator have the names and the meaning that they have there, so that one statement suits both.

An index by which one row is found is the last of its table. Of a new table the planner knows nothing, and the last one
that suits seems as good as any; a process then keeps to it until the table is analyzed, though it were the index of all
that is somebody's.

Of the words of messages and titles it never knows anything: what a search does first is not left to it, and to read
statistics of words takes a millisecond each time.

`tertulia.store.postgres.outcomes` explains the table `incarnations`.
"""

SCHEMA = "tertulia"

_FIRST = """
CREATE FUNCTION instr(text, text) RETURNS integer IMMUTABLE PARALLEL SAFE LANGUAGE sql
    AS 'SELECT strpos($1, $2)';
CREATE FUNCTION json_field(text, text) RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql
    AS 'SELECT CAST($1 AS json) ->> $2';
CREATE OPERATOR ->> (LEFTARG = text, RIGHTARG = text, FUNCTION = json_field);
CREATE FUNCTION json_has(text, text, text) RETURNS integer IMMUTABLE PARALLEL SAFE LANGUAGE sql
    AS 'SELECT CASE WHEN CAST($1 AS jsonb) -> $2 = CAST($3 AS jsonb) THEN 1 ELSE 0 END';
CREATE FUNCTION json_type(text, text) RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql
    AS $$ SELECT CASE json_typeof(value) WHEN 'string' THEN 'text' WHEN 'boolean' THEN CAST(value AS text) WHEN 'number'
    THEN CASE WHEN CAST(value AS text) ~ '[.eE]' THEN 'real' ELSE 'integer' END ELSE json_typeof(value) END
    FROM (SELECT CAST($1 AS json) -> substr($2, 3)) AS found (value) $$;
CREATE FUNCTION json_each(text) RETURNS TABLE (key bigint, value text) IMMUTABLE PARALLEL SAFE LANGUAGE sql
    AS 'SELECT n - 1, each FROM json_array_elements_text(CAST($1 AS json)) WITH ORDINALITY AS found (each, n)';

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE UNLOGGED TABLE incarnations (number bigint PRIMARY KEY, token TEXT NOT NULL);

CREATE TABLE conversations (
    number bigint PRIMARY KEY,
    principal TEXT NOT NULL,
    id TEXT NOT NULL,
    instance TEXT NOT NULL,
    agent TEXT,
    status TEXT NOT NULL,
    title TEXT,
    metadata TEXT NOT NULL,
    context TEXT,
    entity_type TEXT,
    source TEXT,
    source_ref TEXT,
    archived bigint NOT NULL DEFAULT 0,
    message_count bigint,
    last_seq bigint NOT NULL DEFAULT 0,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    rating bigint,
    feedback TEXT,
    awaiting bigint NOT NULL DEFAULT 0,
    gone_at bigint
);
CREATE INDEX conversations_by_update ON conversations (principal, updated_at, number);
CREATE INDEX conversations_idle ON conversations (instance, updated_at) WHERE status IN ('submitted', 'open');
CREATE INDEX conversations_listed ON conversations (principal, archived, updated_at, number, created_at, source)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_created ON conversations (principal, archived, created_at, number, updated_at)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_of_month ON conversations
    (principal, archived, (created_at / 2592000000000), updated_at, number, created_at) WHERE gone_at IS NULL;
CREATE INDEX conversations_titled ON conversations (principal, archived, coalesce(title, ''), number)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_numbered ON conversations (principal, number) WHERE gone_at IS NULL;
CREATE INDEX conversations_of_agent ON conversations (principal, archived, agent, updated_at, number)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_of_instance ON conversations (principal, archived, instance, updated_at, number)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_of_status ON conversations (principal, archived, status, updated_at, number)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_of_source ON conversations (principal, archived, source, updated_at, number)
    WHERE gone_at IS NULL AND source IS NOT NULL;
CREATE INDEX conversations_by_reference
    ON conversations (principal, archived, source_ref, source, updated_at, number)
    WHERE gone_at IS NULL AND source_ref IS NOT NULL;
CREATE INDEX conversations_of_type ON conversations (principal, archived, entity_type, updated_at, number)
    WHERE gone_at IS NULL AND entity_type IS NOT NULL;
CREATE INDEX conversations_known ON conversations (principal, id) WHERE gone_at IS NULL;
CREATE INDEX conversations_awaiting ON conversations (principal) WHERE awaiting = 1;
CREATE INDEX conversations_asking ON conversations (principal) WHERE status = 'input_required';
ALTER TABLE conversations ADD UNIQUE (principal, id);

CREATE TABLE messages (
    position bigint PRIMARY KEY,
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    id TEXT NOT NULL,
    scope TEXT NOT NULL,
    author TEXT NOT NULL,
    role TEXT NOT NULL,
    type TEXT,
    parent_id TEXT,
    created_at bigint NOT NULL,
    metadata TEXT NOT NULL,
    data TEXT,
    text TEXT,
    branch TEXT NOT NULL DEFAULT 'main',
    rating bigint,
    feedback TEXT,
    timed bigint NOT NULL DEFAULT 1,
    unindexed TEXT
);
CREATE INDEX messages_in_order ON messages (principal, conversation_id, position);
CREATE INDEX messages_of_branch ON messages (principal, conversation_id, branch, position);
ALTER TABLE messages ADD UNIQUE (principal, conversation_id, id);

CREATE TABLE branches (
    number bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    shared bigint NOT NULL,
    parted_from TEXT,
    created_at bigint NOT NULL,
    removed bigint NOT NULL DEFAULT 0,
    UNIQUE (principal, conversation_id, id)
);

CREATE TABLE journal (
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    seq bigint NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    run_id TEXT,
    upstream_id TEXT,
    at bigint NOT NULL,
    PRIMARY KEY (principal, conversation_id, seq)
);
CREATE UNIQUE INDEX journal_upstream ON journal (principal, conversation_id, upstream_id)
    WHERE upstream_id IS NOT NULL;
CREATE INDEX journal_tool_calls ON journal (principal, conversation_id, seq)
    WHERE kind IN ('tool_call_start', 'tool_call_result');
CREATE INDEX milestones ON journal (principal, at)
    WHERE kind IN ('status_changed', 'tool_confirmation_resolved');
CREATE INDEX milestones_by_conversation ON journal (principal, conversation_id, at)
    WHERE kind IN ('status_changed', 'tool_confirmation_resolved');

CREATE TABLE runs (
    number bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    agent TEXT,
    status TEXT NOT NULL,
    message_id TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    delivered bigint NOT NULL DEFAULT 0,
    context TEXT,
    checkpoint TEXT NOT NULL,
    first_seq bigint NOT NULL,
    reply_id TEXT,
    error TEXT,
    retryable bigint NOT NULL DEFAULT 0,
    created_at bigint NOT NULL,
    ended_at bigint,
    unsent bigint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX runs_active ON runs (principal, conversation_id)
    WHERE status IN ('queued', 'running', 'input_required');
CREATE INDEX runs_by_conversation ON runs (principal, conversation_id, first_seq);
CREATE INDEX runs_by_call ON runs (principal, call_digest, created_at);

CREATE TABLE requests (
    number bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    run_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    prompt TEXT NOT NULL,
    tool TEXT,
    arguments TEXT NOT NULL,
    tool_call_id TEXT,
    upstream_id TEXT,
    status TEXT NOT NULL,
    declined bigint NOT NULL DEFAULT 0,
    reason TEXT,
    answer TEXT,
    approved_arguments TEXT,
    created_at bigint NOT NULL,
    settled_at bigint,
    data TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX requests_by_run ON requests (run_id, created_at);
CREATE INDEX requests_pending ON requests (principal, created_at) WHERE status = 'pending';

CREATE TABLE receipts (
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    operation TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    effect TEXT NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    created_at bigint NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX receipts_by_age ON receipts (created_at);

CREATE TABLE leases (
    principal TEXT NOT NULL,
    resource TEXT NOT NULL,
    owner TEXT,
    epoch bigint NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (principal, resource)
);

CREATE TABLE deleted_conversations (
    principal TEXT NOT NULL,
    id TEXT NOT NULL,
    deleted_at bigint NOT NULL,
    PRIMARY KEY (principal, id)
);

CREATE TABLE sent_messages (
    principal TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    run_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    delivered bigint NOT NULL DEFAULT 0,
    created_at bigint NOT NULL
);
CREATE INDEX sent_messages_by_call ON sent_messages (principal, call_digest, created_at);
ALTER TABLE sent_messages ADD PRIMARY KEY (principal, message_id);

CREATE TABLE participants (
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    address TEXT NOT NULL,
    role TEXT NOT NULL,
    joined_at bigint NOT NULL,
    PRIMARY KEY (principal, conversation_id, address)
);

CREATE TABLE mailboxes (
    principal TEXT NOT NULL,
    name TEXT NOT NULL,
    registered_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    PRIMARY KEY (principal, name)
);

CREATE TABLE outbox (
    principal TEXT NOT NULL,
    instance TEXT NOT NULL,
    key TEXT NOT NULL,
    body bytea NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (principal, instance, key)
);

CREATE TABLE syncs (
    principal TEXT NOT NULL,
    instance TEXT NOT NULL,
    number bigint NOT NULL,
    completed bigint NOT NULL DEFAULT 0,
    known bigint NOT NULL DEFAULT 0,
    total bigint,
    at bigint NOT NULL,
    PRIMARY KEY (principal, instance)
);

CREATE TABLE synced_conversations (
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    instance TEXT NOT NULL,
    listed_in bigint NOT NULL,
    told TEXT,
    read_in bigint,
    read_told TEXT,
    newest TEXT,
    cursor TEXT,
    cursor_told TEXT
);
CREATE INDEX synced_of_instance ON synced_conversations (principal, instance, listed_in);
ALTER TABLE synced_conversations ADD PRIMARY KEY (principal, conversation_id);

CREATE TABLE imported_titles (
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    title TEXT NOT NULL,
    PRIMARY KEY (principal, conversation_id)
);

CREATE TABLE imported_files (
    principal TEXT NOT NULL,
    path TEXT NOT NULL,
    size bigint NOT NULL,
    modified bigint NOT NULL,
    PRIMARY KEY (principal, path)
);

CREATE TABLE said_words (
    position bigint NOT NULL,
    part bigint NOT NULL,
    principal TEXT NOT NULL,
    length bigint NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (principal, position, part)
);
CREATE INDEX said_words_found ON said_words USING gin (words) WITH (fastupdate = off);

CREATE TABLE program_words (
    position bigint NOT NULL,
    part bigint NOT NULL,
    principal TEXT NOT NULL,
    length bigint NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (principal, position, part)
);
CREATE INDEX program_words_found ON program_words USING gin (words) WITH (fastupdate = off);

CREATE TABLE title_words (
    number bigint NOT NULL,
    principal TEXT NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (principal, number)
);
CREATE INDEX title_words_found ON title_words USING gin (words) WITH (fastupdate = off);
ALTER TABLE said_words ALTER words SET STATISTICS 0;
ALTER TABLE program_words ALTER words SET STATISTICS 0;
ALTER TABLE title_words ALTER words SET STATISTICS 0;

INSERT INTO meta VALUES ('epoch', left(replace(CAST(gen_random_uuid() AS text), '-', ''), 16));
"""

STEPS: tuple[str, ...] = (_FIRST.replace(" TEXT", ' text COLLATE "C"'),)
"""Step n takes a database from version n to n + 1."""
