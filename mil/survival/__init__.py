"""Survival: training losses, metrics and their intervals. Risk: higher is worse, everywhere."""
