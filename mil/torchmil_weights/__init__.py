"""Weights of the library torchmil (Castro-Macias et al., 2025): to this project's networks."""
