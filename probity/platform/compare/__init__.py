"""Comparing trainers and privacy budgets: a grid of ordinary runs on the same splits, one table, and plots."""
