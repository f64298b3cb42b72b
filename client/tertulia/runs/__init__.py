"""How a message gets its answer, and how the answer survives the process that began it."""
