"""The embedded platform: its conversations live in the store, and its agents answer from there."""
