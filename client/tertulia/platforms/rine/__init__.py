"""`rine`: end-to-end-encrypted mail between agents, over Rine's API as its SDK 0.13 knows it."""
