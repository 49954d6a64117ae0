"""Guidance: a small classifier that steers the large model's logits towards a label."""
