"""Diffusion processes: how a block goes from noise to text, each a room of its own."""
