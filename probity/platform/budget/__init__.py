"""The privacy budget of a data set: what may be spent, what is reserved, what was spent, and by which run."""
