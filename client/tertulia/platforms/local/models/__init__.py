"""Agents that are a model, instructions and tools, as the configuration describes them (`[agents.NAME]`)."""
