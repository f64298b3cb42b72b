"""The vocabulary: models, events, states, features, identifiers and errors.

It does no I/O and imports nothing else of ours.
"""
