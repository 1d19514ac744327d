"""Training on secret shares: settings, who owns which rows, and the exchange with the worker that computes."""
