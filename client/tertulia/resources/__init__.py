"""What a caller can do, one noun a module: agents, conversations, messages, runs, search, history."""
