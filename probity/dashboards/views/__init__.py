"""One page to a module; each is ``render(report) -> None``."""
