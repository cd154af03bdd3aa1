"""Weights that people have, in every packaging, read with no trust."""
