"""Checkpoints of AdvMIL's published code: to this project's fold folders and back."""
