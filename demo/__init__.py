"""A simulated cohort of H&E-like slides whose survival is driven by a planted tissue pattern."""
