"""David: the small private model, and the program that asks with it."""
