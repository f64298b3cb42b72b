"""`revengai`: conversations with the assistant of RevEng.AI, over its API v2 (as of its SDK 4.74.3)."""
