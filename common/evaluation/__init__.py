"""Measures: denoising cross-entropy of models and of pairs."""
