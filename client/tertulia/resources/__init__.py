"""The resources of a client, one in each module: agents, conversations, messages, runs, search, history."""
