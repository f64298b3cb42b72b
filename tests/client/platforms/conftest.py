"""What of the platforms' tests cannot be collected everywhere."""

import sys

# Rine's client has no wheel for Windows; its double speaks with the vendor's own cryptography.
collect_ignore_glob = ["test_rine*.py"] if sys.platform == "win32" else []
