"""From a verdict to production: push, verify, list."""
