"""What a serving model answered, to a report, a request to train again, and evidence that no longer counts."""
