"""Training: corpora, batches, the loop, and what it measures."""
