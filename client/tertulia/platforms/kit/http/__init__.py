"""What platforms that are reached over HTTP share: a pooled client, what refusals mean, one reader of streams.

- `tertulia.platforms.kit.http.client.Http`: requests, retried where that is safe; ids are quoted into paths.
- `tertulia.platforms.kit.http.errors.ErrorTable`: a platform's refusals as our errors.
- `tertulia.platforms.kit.http.streams`: Server-Sent Events, and streams that are opened again where they broke.

Nothing here knows a platform, the store or a run.
"""
