"""Slides to features: reading, tissue, patches, encoders. Knows nothing of patients."""
