"""The tables in SQLite, as steps from one version of the schema to the next (see `tertulia.store.schema`).

A file's version is SQLite's `user_version`: the number of steps that were taken. Steps are never edited once they were
released, only added.
"""

_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE conversations (
    number INTEGER PRIMARY KEY,
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
    archived INTEGER NOT NULL DEFAULT 0,
    message_count INTEGER,
    last_seq INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (principal, id)
) STRICT;
CREATE INDEX conversations_by_update ON conversations (principal, updated_at, number);

CREATE TABLE messages (
    position INTEGER PRIMARY KEY,
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    id TEXT NOT NULL,
    scope TEXT NOT NULL,
    author TEXT NOT NULL,
    role TEXT NOT NULL,
    type TEXT,
    parent_id TEXT,
    created_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    data TEXT,
    text TEXT,
    UNIQUE (principal, conversation_id, id)
) STRICT;
CREATE INDEX messages_in_order ON messages (principal, conversation_id, position);

CREATE VIRTUAL TABLE message_index USING fts5 (
    text, scope, content='messages', content_rowid='position', tokenize='words'
);
CREATE VIRTUAL TABLE title_index USING fts5 (
    title, content='conversations', content_rowid='number', tokenize='words'
);

CREATE TABLE journal (
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    run_id TEXT,
    upstream_id TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (principal, conversation_id, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX journal_upstream ON journal (principal, conversation_id, upstream_id)
    WHERE upstream_id IS NOT NULL;

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    agent TEXT,
    status TEXT NOT NULL,
    message_id TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    context TEXT,
    checkpoint TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    reply_id TEXT,
    error TEXT,
    retryable INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE UNIQUE INDEX runs_active ON runs (principal, conversation_id)
    WHERE status IN ('queued', 'running', 'input_required');
CREATE INDEX runs_by_conversation ON runs (principal, conversation_id, first_seq);
CREATE INDEX runs_by_call ON runs (principal, call_digest, created_at);

CREATE TABLE requests (
    id TEXT PRIMARY KEY,
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
    declined INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    answer TEXT,
    approved_arguments TEXT,
    created_at INTEGER NOT NULL,
    settled_at INTEGER
) STRICT;
CREATE INDEX requests_by_run ON requests (run_id, created_at);
CREATE INDEX requests_pending ON requests (principal, created_at) WHERE status = 'pending';

CREATE TABLE receipts (
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    operation TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    effect TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT;

CREATE TABLE leases (
    principal TEXT NOT NULL,
    resource TEXT NOT NULL,
    owner TEXT,
    epoch INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (principal, resource)
) STRICT, WITHOUT ROWID;

CREATE TABLE deleted_conversations (
    principal TEXT NOT NULL,
    id TEXT NOT NULL,
    deleted_at INTEGER NOT NULL,
    PRIMARY KEY (principal, id)
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('epoch', lower(hex(randomblob(8))));
"""

_SECOND = """
ALTER TABLE conversations ADD COLUMN rating INTEGER;
ALTER TABLE conversations ADD COLUMN feedback TEXT;
ALTER TABLE conversations ADD COLUMN awaiting INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN branch TEXT NOT NULL DEFAULT 'main';
ALTER TABLE messages ADD COLUMN rating INTEGER;
ALTER TABLE messages ADD COLUMN feedback TEXT;
ALTER TABLE messages ADD COLUMN timed INTEGER NOT NULL DEFAULT 1;
CREATE INDEX messages_of_branch ON messages (principal, conversation_id, branch, position);
CREATE INDEX conversations_by_source ON conversations (principal, source, source_ref) WHERE source IS NOT NULL;
CREATE INDEX conversations_idle ON conversations (instance, updated_at) WHERE status IN ('submitted', 'open');
CREATE INDEX journal_tool_calls ON journal (principal, conversation_id, seq)
    WHERE kind IN ('tool_call_start', 'tool_call_result');

CREATE TABLE branches (
    number INTEGER PRIMARY KEY,
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    shared INTEGER NOT NULL,
    parted_from TEXT,
    created_at INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (principal, conversation_id, id)
) STRICT;

CREATE TABLE sent_messages (
    principal TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    run_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (principal, message_id)
) STRICT;
CREATE INDEX sent_messages_by_call ON sent_messages (principal, call_digest, created_at);

CREATE TABLE participants (
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    address TEXT NOT NULL,
    role TEXT NOT NULL,
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (principal, conversation_id, address)
) STRICT, WITHOUT ROWID;
INSERT INTO participants SELECT principal, id, 'user', 'initiator', created_at FROM conversations
    WHERE instance = 'local';
INSERT INTO participants SELECT principal, id, agent, 'responder', created_at FROM conversations
    WHERE instance = 'local' AND agent IS NOT NULL;

CREATE TABLE mailboxes (
    principal TEXT NOT NULL,
    name TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (principal, name)
) STRICT, WITHOUT ROWID;
"""

_THIRD = """
CREATE INDEX conversations_by_creation ON conversations (principal, created_at);
CREATE INDEX milestones ON journal (principal, at)
    WHERE kind IN ('status_changed', 'tool_confirmation_resolved');
CREATE INDEX milestones_by_conversation ON journal (principal, conversation_id, at)
    WHERE kind IN ('status_changed', 'tool_confirmation_resolved');
"""

_FOURTH = """
CREATE TABLE outbox (
    principal TEXT NOT NULL,
    instance TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (principal, instance, key)
) STRICT, WITHOUT ROWID;
"""

_FIFTH = """
CREATE TABLE syncs (
    principal TEXT NOT NULL,
    instance TEXT NOT NULL,
    number INTEGER NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0,
    known INTEGER NOT NULL DEFAULT 0,
    total INTEGER,
    at INTEGER NOT NULL,
    PRIMARY KEY (principal, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE synced_conversations (
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    instance TEXT NOT NULL,
    listed_in INTEGER NOT NULL,
    told TEXT,
    read_in INTEGER,
    read_told TEXT,
    newest TEXT,
    cursor TEXT,
    cursor_told TEXT,
    PRIMARY KEY (principal, conversation_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX synced_of_instance ON synced_conversations (principal, instance, listed_in);
"""

_SIXTH = """
ALTER TABLE requests ADD COLUMN data TEXT NOT NULL DEFAULT '{}';
"""

_SEVENTH = """
CREATE TABLE imported_titles (
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    title TEXT NOT NULL,
    PRIMARY KEY (principal, conversation_id)
) STRICT, WITHOUT ROWID;
"""

_EIGHTH = """
DROP TABLE message_index;
CREATE VIEW said_messages AS SELECT position, principal, conversation_id, id, text, scope FROM messages
    WHERE NOT (role = 'tool' OR coalesce(type, '') IN
    ('command_output', 'context', 'notification', 'interruption', 'summary'));
CREATE VIEW program_messages AS SELECT position, principal, conversation_id, id, text, scope FROM messages
    WHERE role = 'tool' OR coalesce(type, '') IN
    ('command_output', 'context', 'notification', 'interruption', 'summary');
CREATE VIRTUAL TABLE message_index USING fts5 (
    text, scope, content='said_messages', content_rowid='position', tokenize='words'
);
CREATE VIRTUAL TABLE program_index USING fts5 (
    text, scope, content='program_messages', content_rowid='position', tokenize='words'
);
INSERT INTO meta SELECT 'indexed_from', max(position) + 1 FROM messages HAVING count(*) > 0;
INSERT INTO title_index (title_index) VALUES ('rebuild');
"""

_NINTH = """
CREATE TABLE imported_files (
    principal TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    PRIMARY KEY (principal, path)
) STRICT, WITHOUT ROWID;
"""

_TENTH = """
ALTER TABLE messages ADD COLUMN unindexed TEXT;
INSERT INTO message_index (message_index, rank) VALUES ('secure-delete', 1);
INSERT INTO program_index (program_index, rank) VALUES ('secure-delete', 1);
INSERT INTO title_index (title_index, rank) VALUES ('secure-delete', 1);
"""

_ELEVENTH = """
ALTER TABLE runs RENAME TO runs_before;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    agent TEXT,
    status TEXT NOT NULL,
    message_id TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    context TEXT,
    checkpoint TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    reply_id TEXT,
    error TEXT,
    retryable INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
INSERT INTO runs (number,
    id, principal, conversation_id, agent, status, message_id, call_digest, delivered, context, checkpoint,
    first_seq, reply_id, error, retryable, created_at, ended_at)
    SELECT rowid,
    id, principal, conversation_id, agent, status, message_id, call_digest, delivered, context, checkpoint,
    first_seq, reply_id, error, retryable, created_at, ended_at
    FROM runs_before;
DROP TABLE runs_before;
CREATE UNIQUE INDEX runs_active ON runs (principal, conversation_id)
    WHERE status IN ('queued', 'running', 'input_required');
CREATE INDEX runs_by_conversation ON runs (principal, conversation_id, first_seq);
CREATE INDEX runs_by_call ON runs (principal, call_digest, created_at);
ALTER TABLE requests RENAME TO requests_before;
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
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
    declined INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    answer TEXT,
    approved_arguments TEXT,
    created_at INTEGER NOT NULL,
    settled_at INTEGER,
    data TEXT NOT NULL DEFAULT '{}'
) STRICT;
INSERT INTO requests (number,
    id, principal, run_id, conversation_id, kind, prompt, tool, arguments, tool_call_id, upstream_id, status,
    declined, reason, answer, approved_arguments, created_at, settled_at, data)
    SELECT rowid,
    id, principal, run_id, conversation_id, kind, prompt, tool, arguments, tool_call_id, upstream_id, status,
    declined, reason, answer, approved_arguments, created_at, settled_at, data
    FROM requests_before;
DROP TABLE requests_before;
CREATE INDEX requests_by_run ON requests (run_id, created_at);
CREATE INDEX requests_pending ON requests (principal, created_at) WHERE status = 'pending';
CREATE INDEX receipts_by_age ON receipts (created_at);
"""

_TWELFTH = """
ALTER TABLE conversations ADD COLUMN gone_at INTEGER;
ALTER TABLE runs ADD COLUMN unsent INTEGER NOT NULL DEFAULT 0;
"""

_THIRTEENTH = """
DROP INDEX conversations_by_source;
CREATE INDEX conversations_listed ON conversations (principal, archived, updated_at, number) WHERE gone_at IS NULL;
CREATE INDEX conversations_of_agent ON conversations (principal, archived, agent, updated_at, number)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_of_instance ON conversations (principal, archived, instance, updated_at, number)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_of_status ON conversations (principal, archived, status, updated_at, number)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_of_source ON conversations (principal, archived, source, updated_at, number)
    WHERE gone_at IS NULL AND source IS NOT NULL;
CREATE INDEX conversations_by_source ON conversations (principal, archived, source, source_ref, updated_at, number)
    WHERE gone_at IS NULL AND source IS NOT NULL;
CREATE INDEX conversations_of_type ON conversations (principal, archived, entity_type, updated_at, number)
    WHERE gone_at IS NULL AND entity_type IS NOT NULL;
CREATE INDEX conversations_known ON conversations (principal, id) WHERE gone_at IS NULL;
CREATE INDEX conversations_awaiting ON conversations (principal) WHERE awaiting = 1;
CREATE INDEX conversations_asking ON conversations (principal) WHERE status = 'input_required';
"""

_FOURTEENTH = """
DROP INDEX conversations_listed;
DROP INDEX conversations_by_source;
DROP INDEX conversations_by_creation;
CREATE INDEX conversations_listed ON conversations (principal, archived, updated_at, number, created_at, source)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_by_reference
    ON conversations (principal, archived, source_ref, source, updated_at, number)
    WHERE gone_at IS NULL AND source_ref IS NOT NULL;
CREATE INDEX conversations_created ON conversations (principal, archived, created_at, number, updated_at)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_titled ON conversations (principal, archived, coalesce(title, ''), number)
    WHERE gone_at IS NULL;
CREATE INDEX conversations_numbered ON conversations (principal, number) WHERE gone_at IS NULL;
"""

_FIFTEENTH = """
DROP INDEX conversations_listed;
DROP INDEX conversations_of_agent;
DROP INDEX conversations_of_instance;
DROP INDEX conversations_of_status;
DROP INDEX conversations_of_source;
DROP INDEX conversations_of_type;
DROP INDEX conversations_created;
CREATE INDEX conversations_listed ON conversations (
    principal, archived, updated_at, number, created_at, agent, instance, status, source, entity_type
) WHERE gone_at IS NULL;
CREATE INDEX conversations_of_agent ON conversations (
    principal, archived, agent, updated_at, number, created_at, instance, status, source, entity_type
) WHERE gone_at IS NULL;
CREATE INDEX conversations_of_instance ON conversations (
    principal, archived, instance, updated_at, number, created_at, agent, status, source, entity_type
) WHERE gone_at IS NULL;
CREATE INDEX conversations_of_status ON conversations (
    principal, archived, status, updated_at, number, created_at, agent, instance, source, entity_type
) WHERE gone_at IS NULL;
CREATE INDEX conversations_of_source ON conversations (
    principal, archived, source, updated_at, number, created_at, agent, instance, status, entity_type
) WHERE gone_at IS NULL AND source IS NOT NULL;
CREATE INDEX conversations_of_type ON conversations (
    principal, archived, entity_type, updated_at, number, created_at, agent, instance, status, source
) WHERE gone_at IS NULL AND entity_type IS NOT NULL;
CREATE INDEX conversations_created ON conversations (
    principal, archived, created_at, number, updated_at, agent, instance, status, source, entity_type
) WHERE gone_at IS NULL;
CREATE INDEX conversations_of_month ON conversations (
    principal, archived, created_at / 2592000000000, updated_at, number, created_at, agent, instance, status, source,
    entity_type
) WHERE gone_at IS NULL;
"""

APPLICATION_ID = 0x5472746C
"""Marks the file as ours (`PRAGMA application_id`): "Trtl"."""

STEPS: tuple[str, ...] = (
    _FIRST,
    _SECOND,
    _THIRD,
    _FOURTH,
    _FIFTH,
    _SIXTH,
    _SEVENTH,
    _EIGHTH,
    _NINTH,
    _TENTH,
    _ELEVENTH,
    _TWELFTH,
    _THIRTEENTH,
    _FOURTEENTH,
    _FIFTEENTH,
)
"""Step n takes a file from version n to n + 1."""
