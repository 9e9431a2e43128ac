"""A throw-away PostgreSQL server, kept by the script that keeps those of the tests."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

SCRIPT = pathlib.Path(__file__).parents[2] / "tests/support/cluster.sh"
PASSWORD = "throw-away"
# A session ends, and is counted, a moment after its client.
SETTLE_SECONDS = 0.1
PROGRAMS = ["initdb", "pg_ctl", "postgres"]


class Cluster:
    """Runs while the block runs. The end of this process, however it comes, stops the server and removes its folder."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="recount-pg-"))
        self.port = free_port()
        command = ["sh", "-c", SCRIPT.read_text(), "sh", server_folder(), self.folder, str(self.port), PASSWORD]
        # A session of its own: an interrupt at the terminal must not take the keeper with it.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.keeper = subprocess.Popen(command, text=True, bufsize=1, start_new_session=True, **pipes)
        for order in ["init", "start"]:
            self.keeper.stdin.write(f"{order}\n")
            if self.keeper.stdout.readline() != "ok\n":
                log = (self.folder / "cluster.log").read_text()
                self.__exit__()
                raise SystemExit(f"no PostgreSQL server: the order to {order} failed\n{log}")
        return self

    def __exit__(self, *_):
        self.keeper.stdin.close()
        self.keeper.wait()

    def processor(self):
        """Seconds of processor time that all its sessions took which have ended."""
        time.sleep(SETTLE_SECONDS)
        server = (self.folder / "data/postmaster.pid").read_text().split()[0]
        fields = pathlib.Path("/proc", server, "stat").read_text().rsplit(")", 1)[1].split()
        of_children = fields[13:15]
        return sum(map(int, of_children)) / os.sysconf("SC_CLK_TCK")

    def url(self, database="postgres"):
        return f"postgresql://validator:{PASSWORD}@127.0.0.1:{self.port}/{database}"


def server_folder():
    """The folder of the server's programs: the one in PATH, else the newest that Debian's packages installed."""
    packaged = pathlib.Path("/usr/lib/postgresql").glob("*/bin")
    newest = sorted(packaged, key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in [*map(pathlib.Path, os.get_exec_path()), *newest]:
        if all((folder / program).is_file() for program in PROGRAMS):
            return str(folder)
    raise SystemExit("PostgreSQL's server programs (package postgresql) are neither in PATH nor under /usr/lib/postgresql")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def statement(url, sql, *flags):
    """The command that runs a statement by psql, which is in PATH or beside the server's programs."""
    psql = shutil.which("psql") or f"{server_folder()}/psql"
    return [psql, url, "-X", "-q", "-v", "ON_ERROR_STOP=1", *flags, "-c", sql]


def psql(url, sql):
    """What a statement gives, as text."""
    return subprocess.run(statement(url, sql, "-At"), check=True, capture_output=True, text=True).stdout.strip()
