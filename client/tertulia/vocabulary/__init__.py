"""The vocabulary: models, events, states, features, identifiers and errors.

It does no I/O and imports no other package of Tertulia.
"""
