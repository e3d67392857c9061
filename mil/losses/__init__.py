"""Losses of classes that PyTorch lacks; those of survival are in ``mil.survival.losses``."""
