"""The method: a simplex diffusion language model, its noise, its loop."""
