-- What the release with version 5 of the schema had written, row by row; the full-text index is rebuilt from it.
INSERT INTO conversations (number, principal, id, instance, agent, status, title, metadata, context, entity_type, source, source_ref, archived, message_count, last_seq, created_at, updated_at, rating, feedback, awaiting)
    VALUES (1, 'local', 'local:9km4fc5856', 'local', 'local:archivist', 'open', 'Renewals', '{"team":"sales"}', NULL, 'lead', 'web', 'form-7', 0, 3, 10, 1740000048772158, 1740000048785570, NULL, NULL, 0);
INSERT INTO conversations (number, principal, id, instance, agent, status, title, metadata, context, entity_type, source, source_ref, archived, message_count, last_seq, created_at, updated_at, rating, feedback, awaiting)
    VALUES (2, 'local', 'local:pyyhnp23qx', 'local', 'local:archivist', 'input_required', 'Tidying', '{}', NULL, NULL, NULL, NULL, 0, 1, 11, 1740000048787313, 1740000048790276, NULL, NULL, 0);
INSERT INTO messages (position, principal, conversation_id, id, scope, author, role, type, parent_id, created_at, metadata, data, text, branch, rating, feedback, timed)
    VALUES (114032643196452864, 'local', 'local:9km4fc5856', 'm_0b1gt0hqd8', 's410f56ff sffe2c2d7 s20456da5 sbbe2f743', 'user', 'user', NULL, NULL, 1740000048774263, '{}', NULL, 'remember Acme renews in May, says Bolt.', 'main', NULL, NULL, 1);
INSERT INTO messages (position, principal, conversation_id, id, scope, author, role, type, parent_id, created_at, metadata, data, text, branch, rating, feedback, timed)
    VALUES (114032643197042688, 'local', 'local:9km4fc5856', 'm_7advq9rvhbskz772', 's410f56ff sffe2c2d7 s20456da5 sbbe2f743', 'local:archivist', 'assistant', 'archivist.answer', 'm_0b1gt0hqd8', 1740000048783444, '{}', NULL, 'Kept (6 words); you can ask me to find or quote it.', 'main', NULL, NULL, 1);
INSERT INTO messages (position, principal, conversation_id, id, scope, author, role, type, parent_id, created_at, metadata, data, text, branch, rating, feedback, timed)
    VALUES (114032643197173760, 'local', 'local:9km4fc5856', 'm_z9phcs9a06', 's410f56ff sffe2c2d7 s20456da5 sbbe2f743', 'user', 'user', NULL, NULL, 1740000048785570, '{}', NULL, 'remember Acme renews in June, says Bolt.', 'b_j0nzd79t', 4, 'Good', 1);
INSERT INTO messages (position, principal, conversation_id, id, scope, author, role, type, parent_id, created_at, metadata, data, text, branch, rating, feedback, timed)
    VALUES (114032643197304832, 'local', 'local:pyyhnp23qx', 'm_ch5qqskxxf', 's410f56ff sffe2c2d7 sbc95b057 sbbe2f743', 'user', 'user', 'archivist.command', NULL, 1740000048787603, '{}', NULL, 'archive local:9km4fc5856', 'main', NULL, NULL, 1);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 1, 'message_added', '{"message_id":"m_0b1gt0hqd8","author":"user","role":"user"}', 'run_7advq9rvhbskz772', NULL, 1740000048774263);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 2, 'status_changed', '{"status":"open","before":"submitted"}', 'run_7advq9rvhbskz772', NULL, 1740000048781334);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 3, 'run_started', '{"agent":"local:archivist"}', 'run_7advq9rvhbskz772', NULL, 1740000048781334);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 4, 'text_message_start', '{"message_id":"m_7advq9rvhbskz772"}', 'run_7advq9rvhbskz772', NULL, 1740000048782811);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 5, 'text_message_content', '{"message_id":"m_7advq9rvhbskz772","delta":"Kept (6 words); you can ask me to find or quote it."}', 'run_7advq9rvhbskz772', NULL, 1740000048783210);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 6, 'text_message_end', '{"message_id":"m_7advq9rvhbskz772"}', 'run_7advq9rvhbskz772', NULL, 1740000048783210);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 7, 'message_added', '{"message_id":"m_7advq9rvhbskz772","author":"local:archivist","role":"assistant"}', 'run_7advq9rvhbskz772', NULL, 1740000048783444);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 8, 'run_finished', '{}', 'run_7advq9rvhbskz772', NULL, 1740000048783444);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 9, 'message_updated', '{"message_id":"m_z9phcs9a06","replaces":"m_0b1gt0hqd8"}', NULL, NULL, 1740000048785570);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:9km4fc5856', 10, 'message_updated', '{"message_id":"m_z9phcs9a06"}', NULL, NULL, 1740000048786657);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 1, 'message_added', '{"message_id":"m_ch5qqskxxf","author":"user","role":"user"}', 'run_f85heneemf9q4k77', NULL, 1740000048787603);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 2, 'status_changed', '{"status":"open","before":"submitted"}', 'run_f85heneemf9q4k77', NULL, 1740000048789192);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 3, 'run_started', '{"agent":"local:archivist"}', 'run_f85heneemf9q4k77', NULL, 1740000048789192);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 4, 'tool_call_start', '{"tool_call_id":"run_f85heneemf9q4k77_1","tool":"look_up_conversation"}', 'run_f85heneemf9q4k77', NULL, 1740000048789693);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 5, 'tool_call_args', '{"tool_call_id":"run_f85heneemf9q4k77_1","arguments":{"conversation_id":"local:9km4fc5856"}}', 'run_f85heneemf9q4k77', NULL, 1740000048789693);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 6, 'tool_call_end', '{"tool_call_id":"run_f85heneemf9q4k77_1"}', 'run_f85heneemf9q4k77', NULL, 1740000048789693);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 7, 'tool_call_result', '{"tool_call_id":"run_f85heneemf9q4k77_1","result":{"conversations":[{"conversation_id":"local:9km4fc5856","title":"Renewals","status":"open","archived":false,"agent":"local:archivist","messages":3,"updated":"2025-02-19T21:20Z"}],"more":false},"outcome":"ok"}', 'run_f85heneemf9q4k77', NULL, 1740000048790042);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 8, 'tool_call_start', '{"tool_call_id":"run_f85heneemf9q4k77_2","tool":"archive_conversation"}', 'run_f85heneemf9q4k77', NULL, 1740000048790276);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 9, 'tool_call_args', '{"tool_call_id":"run_f85heneemf9q4k77_2","arguments":{"conversation_id":"local:9km4fc5856"}}', 'run_f85heneemf9q4k77', NULL, 1740000048790276);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 10, 'tool_confirmation_required', '{"request_id":"req_ny22m2gzzf27rg02","prompt":"Archive the conversation “Renewals” (local:9km4fc5856)?","tool":"archive_conversation","arguments":{"conversation_id":"local:9km4fc5856"},"tool_call_id":"run_f85heneemf9q4k77_2"}', 'run_f85heneemf9q4k77', NULL, 1740000048790276);
INSERT INTO journal (principal, conversation_id, seq, kind, data, run_id, upstream_id, at)
    VALUES ('local', 'local:pyyhnp23qx', 11, 'status_changed', '{"status":"input_required","before":"open"}', 'run_f85heneemf9q4k77', NULL, 1740000048790276);
INSERT INTO runs (id, principal, conversation_id, agent, status, message_id, call_digest, delivered, context, checkpoint, first_seq, reply_id, error, retryable, created_at, ended_at)
    VALUES ('run_7advq9rvhbskz772', 'local', 'local:9km4fc5856', 'local:archivist', 'completed', 'm_0b1gt0hqd8', '5cdab754d35ab02c85ad07315eca358e17f0bbbab0c81b42f0a122d3ab7f15c0', 1, NULL, '{}', 1, 'm_7advq9rvhbskz772', NULL, 0, 1740000048774263, 1740000048783444);
INSERT INTO runs (id, principal, conversation_id, agent, status, message_id, call_digest, delivered, context, checkpoint, first_seq, reply_id, error, retryable, created_at, ended_at)
    VALUES ('run_f85heneemf9q4k77', 'local', 'local:pyyhnp23qx', 'local:archivist', 'input_required', 'm_ch5qqskxxf', '1d3230badd68e089397d4815bd08f1098a8ffaef8bbd2bf8d89f751dc7f19fda', 1, NULL, '{}', 1, NULL, NULL, 0, 1740000048787603, NULL);
INSERT INTO requests (id, principal, run_id, conversation_id, kind, prompt, tool, arguments, tool_call_id, upstream_id, status, declined, reason, answer, approved_arguments, created_at, settled_at)
    VALUES ('req_ny22m2gzzf27rg02', 'local', 'run_f85heneemf9q4k77', 'local:pyyhnp23qx', 'confirmation', 'Archive the conversation “Renewals” (local:9km4fc5856)?', 'archive_conversation', '{"conversation_id":"local:9km4fc5856"}', 'run_f85heneemf9q4k77_2', NULL, 'pending', 0, NULL, NULL, NULL, 1740000048790276, NULL);
INSERT INTO receipts (principal, key, operation, call_digest, effect, done, created_at)
    VALUES ('local', 'key-1', 'start_conversation', '5cdab754d35ab02c85ad07315eca358e17f0bbbab0c81b42f0a122d3ab7f15c0', '{"native_id":"9km4fc5856","run_id":"run_7advq9rvhbskz772","message_id":"m_0b1gt0hqd8","conversation_id":"local:9km4fc5856"}', 1, 1740000048653642);
INSERT INTO leases (principal, resource, owner, epoch, expires_at)
    VALUES ('local', 'call key-1', NULL, 1, 1740000054653940);
INSERT INTO leases (principal, resource, owner, epoch, expires_at)
    VALUES ('local', 'local:9km4fc5856', NULL, 2, 1740000054775449);
INSERT INTO leases (principal, resource, owner, epoch, expires_at)
    VALUES ('local', 'local:pyyhnp23qx', NULL, 1, 1740000054788614);
INSERT INTO deleted_conversations (principal, id, deleted_at)
    VALUES ('local', 'local:94dtqye1r6', 1740000048791738);
INSERT INTO branches (number, principal, conversation_id, id, parent, shared, parted_from, created_at, removed)
    VALUES (1, 'local', 'local:9km4fc5856', 'b_j0nzd79t', 'main', 0, 'm_0b1gt0hqd8', 1740000048785570, 0);
INSERT INTO participants (principal, conversation_id, address, role, joined_at)
    VALUES ('local', 'local:9km4fc5856', 'local:archivist', 'responder', 1740000048772158);
INSERT INTO participants (principal, conversation_id, address, role, joined_at)
    VALUES ('local', 'local:9km4fc5856', 'user', 'initiator', 1740000048772158);
INSERT INTO participants (principal, conversation_id, address, role, joined_at)
    VALUES ('local', 'local:pyyhnp23qx', 'local:archivist', 'responder', 1740000048787313);
INSERT INTO participants (principal, conversation_id, address, role, joined_at)
    VALUES ('local', 'local:pyyhnp23qx', 'user', 'initiator', 1740000048787313);
