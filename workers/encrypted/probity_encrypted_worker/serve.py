"""``probity workers serve encrypted --party NAME --config parties.yaml``."""

from __future__ import annotations

from probity_encrypted_worker.party import main

if __name__ == "__main__":
    raise SystemExit(main())
