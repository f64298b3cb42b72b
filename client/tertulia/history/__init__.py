"""Conversations that were held elsewhere come in, and all that is here goes out: see `tertulia.resources.history`."""
