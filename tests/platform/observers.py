"""Who watches a run in a test."""

from __future__ import annotations


class Quiet:
    """Nobody who watches."""

    def stage_started(self, name):
        pass

    def stage_progress(self, fraction, text):
        pass

    def stage_finished(self, name, *, seconds, reused_from):
        pass

    def note(self, text):
        pass
