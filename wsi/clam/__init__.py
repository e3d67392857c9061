"""CLAM-compatible mode: the tissue, the patch grid and the files that CLAM makes, exactly."""
