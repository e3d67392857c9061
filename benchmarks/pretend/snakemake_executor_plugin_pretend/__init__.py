"""A Snakemake executor whose jobs do nothing for a while and then touch their outputs.

All else is Snakemake's: planning, choosing what runs next, counting slots, metadata. The variable
PRETEND names a JSON file: seconds by rule, a list to draw from; other rules take no time.
"""

import heapq
import json
import os
import random
import threading
import time
from itertools import count
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecMode

common_settings = CommonSettings(
    non_local_exec=False,  # slots of one machine: jobs are not grouped
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(RealExecutor):
    """Ends every job at its time, in a thread of its own."""

    def __post_init__(self) -> None:
        self.seconds = json.loads(Path(os.environ["PRETEND"]).read_text())
        self.running, self.order = [], count()
        self.changed, self.closed = threading.Condition(), False
        threading.Thread(target=self._end_jobs, daemon=True).start()

    def run_job(self, job) -> None:
        """Start to do nothing."""
        info = SubmittedJobInfo(job=job)
        self.report_job_submission(info)
        drawn = random.Random(f"{job.rule.name} {sorted(job.wildcards_dict.items())}")
        seconds = drawn.choice(self.seconds.get(job.rule.name, [0]))
        with self.changed:
            heapq.heappush(self.running, (time.monotonic() + seconds, next(self.order), info))
            self.changed.notify()

    def _end_jobs(self) -> None:
        while not self.closed:
            with self.changed:
                left = self.running[0][0] - time.monotonic() if self.running else None
                if left is None or left > 0:
                    self.changed.wait(left)
                    continue
                info = heapq.heappop(self.running)[2]
            for path in map(Path, filter(None, [*info.job.output, info.job.benchmark])):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            self.report_job_success(info)

    def shutdown(self) -> None:
        """Let the thread end."""
        with self.changed:
            self.closed = True
            self.changed.notify()

    cancel = shutdown

    def handle_job_error(self, job) -> None:
        """Nothing fails."""

    def get_exec_mode(self) -> ExecMode:
        """Return the mode of jobs on this machine."""
        return ExecMode.SUBPROCESS

    def get_python_executable(self) -> str:
        """Nothing is started."""
        raise NotImplementedError

    @property
    def cores(self) -> int:
        """Slots."""
        return self.workflow.resource_settings.cores
