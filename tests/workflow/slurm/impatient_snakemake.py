"""Snakemake that asks SLURM every second what has ended, however long nothing does.

The plugin asks ten seconds later each time that nothing has ended; tests would
wait for little else.
"""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, value: None)

if __name__ == "__main__":
    sys.exit(main())
