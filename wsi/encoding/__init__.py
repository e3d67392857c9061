"""From the patches of slides to features: reading, preparing, encoding, at the machine's speed."""
