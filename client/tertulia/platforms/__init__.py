"""The platforms, the seam that each of them implements (`base`), and what they share (`kit`)."""
