"""Import of transcripts from other programs, and export of the store's conversations (see `resources.history`)."""
