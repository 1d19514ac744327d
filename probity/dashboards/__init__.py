"""Pages over finished runs: they read, and never compute, train or audit."""
