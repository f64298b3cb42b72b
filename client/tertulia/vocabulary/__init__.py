"""The vocabulary: models, events, states, features, identifiers and errors. Does no I/O, imports nothing else of ours."""
