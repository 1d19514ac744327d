"""``probity workers serve spu``: there is nothing to serve, and this says so."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.exit(
        "error: probity workers serve spu: this worker's parties are started by the run. Allowed: parties: processes. "
        "To do: use engine: tf_encrypted for parties that you start yourself."
    )
