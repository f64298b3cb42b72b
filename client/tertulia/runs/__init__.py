"""Runs: how a message gets its answer, and how a run survives the process that began it."""
