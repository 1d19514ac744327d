"""A trained model and the test split become findings. No audit sets a threshold or looks at the trainer."""
