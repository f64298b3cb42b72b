"""R2R (SciPhi-AI/R2R), self-hosted, over its v3 wire as of 3.6.6."""
