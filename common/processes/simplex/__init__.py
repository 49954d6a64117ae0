"""Simplex diffusion: tokens are points of a simplex, corrupted by Gaussian noise."""
