"""What a run was made of and what it made, for whoever must repeat or audit it."""
