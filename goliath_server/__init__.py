"""Goliath: the large model, served; each step takes in what a David contributes."""
