"""How a suite that cannot run here tells `make test` so."""

import os


def skip_log(suite, reason, when):
    """Appends to the list that `make test` prints at its end; returns the reason for unittest."""
    log = os.environ.get("PITLANE_TEST_SKIP_LOG")
    if when and log:
        with open(log, "a", encoding="utf-8") as file:
            print(f"{suite}: {reason}", file=file)
    return reason
