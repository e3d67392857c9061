"""Judging predictions of classes, grades and numbers: metrics, figures, comparison."""
