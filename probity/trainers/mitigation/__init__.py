"""Mitigation: trainings and decision rules that make chosen differences between groups smaller, one module per method.

Each makes one measured difference smaller for one choice of groups, and may make others larger: the audit
``mitigation`` measures what it changed, for every group, against the same training without it.
"""
