"""One search over all platforms, and the sync that brings their histories into the store's index."""
