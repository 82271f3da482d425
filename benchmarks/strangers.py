"""Files that nobody wrote: python -m benchmarks.strangers [--count N] [--seed N] [KIND ...]

Configs of networks, checkpoints, arrays and pictures, a thousand of each, are changed at random by
a seed and read in children with limits of time and memory (`tests/oracles/strangers.py`). Expected:
each is read rightly or refused in words; no traceback, no hang, no child that is killed. Otherwise
the exit status is 1, and the numbers of those files are shown.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.harness.machine import report
from kcnn import startup
from tests.oracles import strangers


def main() -> int:
    """Change, read, count."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(strangers.KINDS))
    parser.add_argument("--count", type=int, default=1000, help="files of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    options = parser.parse_args()
    kinds = options.kinds or strangers.KINDS
    startup.load()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        campaign = strangers.Campaign(Path(folder), options.seed)
        try:
            for kind in kinds:
                for number in range(options.count):
                    campaign.run(kind, number)
                counts = campaign.counts[kind]
                row = {verdict: counts[verdict] for verdict in strangers.VERDICTS}
                lines.append({"files": kind, **row})
                print(kind, dict(counts), file=sys.stderr, flush=True)
        finally:
            campaign.close()
    columns = ["files", *strangers.VERDICTS]
    report("strangers", f"Changed files, seed {options.seed}", columns, lines)
    for kind, number, verdict, words in campaign.failures:
        print(f"{kind} {number}: {verdict}: {words[:300]}")
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(main())
