"""One run of a program: how long, how much processor, how much memory.

The memory is the system's own account of the child (ru_maxrss by wait4). A child starts with the account of the process that it
came from, so this process stays small: it imports nothing beyond the standard library and holds no table.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


@dataclasses.dataclass
class Run:
    seconds: float
    processor: float
    peak_mb: float
    told: dict
    # Of the database server, for this run, where somebody counts it.
    server: float = 0.0


def run(command, statuses=(0,), tells=True):
    """Runs a command to its end. `tells`: its output is one JSON object; other output goes nowhere."""
    with tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if tells else subprocess.DEVNULL,
            stderr=errors,
        )
        output = process.stdout.read() if tells else b""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in statuses:
            errors.seek(0)
            sys.exit(f"{command} ended with {process.returncode}\n{errors.read().decode(errors='replace')}")
    told = json.loads(output) if tells else {}
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, told)


@dataclasses.dataclass
class Measured:
    """All runs of one command."""

    runs: list

    @property
    def seconds(self):
        """Of the whole process, its start included."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def work(self):
        """Of its work alone, where it tells that: without the start of the interpreter and its imports."""
        return statistics.median(run.told.get("work_seconds", run.seconds) for run in self.runs)

    @property
    def processor(self):
        return statistics.median(run.processor for run in self.runs)

    @property
    def server(self):
        return statistics.median(run.server for run in self.runs)

    @property
    def peak_mb(self):
        return max(run.peak_mb for run in self.runs)


def say(text):
    print(text, file=sys.stderr, flush=True)
