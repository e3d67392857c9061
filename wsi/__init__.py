"""Slides to features: reading, tissue, patches, encoders. Knows nothing of patients."""

__version__ = "0.1.0"
