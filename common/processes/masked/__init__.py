"""Masked diffusion: a position is settled or [MASK]; a step settles some."""
