"""What platforms that are reached over HTTP share: a pooled client, what refusals mean, one reader of streams.

- `tertulia.http.client.Http`: requests, retried where that is safe; ids are quoted into paths.
- `tertulia.http.errors.ErrorTable`: a platform's refusals as our errors.
- `tertulia.http.streams`: Server-Sent Events, and streams that are opened again where they broke.

Nothing here knows a platform, the store or a run.
"""
