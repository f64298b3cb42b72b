"""What the platforms' adapters share. Nothing here knows a single platform."""
