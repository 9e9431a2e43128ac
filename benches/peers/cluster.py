"""A throw-away PostgreSQL server, kept by the script that keeps those of the tests."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

SCRIPT = pathlib.Path(__file__).parents[2] / "tests/support/cluster.sh"
PASSWORD = "throw-away"
PROGRAMS = ["initdb", "pg_ctl", "postgres"]


class Cluster:
    """Runs while the block runs. The end of this process, however it comes, stops the server and removes its folder."""

    def __enter__(self):
        folder = tempfile.mkdtemp(prefix="recount-pg-")
        self.port = free_port()
        command = ["sh", "-c", SCRIPT.read_text(), "sh", server_folder(), folder, str(self.port), PASSWORD]
        # A session of its own: an interrupt at the terminal must not take the keeper with it.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.keeper = subprocess.Popen(command, text=True, bufsize=1, start_new_session=True, **pipes)
        for order in ["init", "start"]:
            self.keeper.stdin.write(f"{order}\n")
            if self.keeper.stdout.readline() != "ok\n":
                log = pathlib.Path(folder, "cluster.log").read_text()
                self.__exit__()
                raise SystemExit(f"no PostgreSQL server: the order to {order} failed\n{log}")
        return self

    def __exit__(self, *_):
        self.keeper.stdin.close()
        self.keeper.wait()

    def url(self, database="postgres"):
        return f"postgresql://recount:{PASSWORD}@127.0.0.1:{self.port}/{database}"


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


def psql(url, sql):
    """What a statement gives, as text."""
    command = [shutil.which("psql") or "psql", url, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
