"""Text to token ids and back, and how a model wants to be asked."""
