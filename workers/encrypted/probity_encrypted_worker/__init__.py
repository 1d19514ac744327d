"""Training and prediction on secret shares with TF Encrypted: the worker behind probity's trainer ``encrypted``."""
