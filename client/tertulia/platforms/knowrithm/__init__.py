"""`knowrithm`: conversations with Knowrithm's agents, over its API v1 (as of its SDK 0.1.22)."""
