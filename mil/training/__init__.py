"""Training: one experiment on one fold."""

from mil.training.train import train_model

__all__ = ["train_model"]
