"""Bags to survival: cohort, folds, bags, models, training, evaluation, report."""
