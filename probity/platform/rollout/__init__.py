"""One version takes over from another, step by step, watched by tests that may be read at any time."""
