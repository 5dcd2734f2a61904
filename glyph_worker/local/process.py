"""One process beside us: started, started again when it ends, stopped in order, ended with us.

The only supervisor of the house: workers, gateway, Flower and servers of `up`, the demo, the chaos
kit and the tests all run under it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from glyph_worker.errors import ConfigurationError

MAX_RESTARTS = 20

# A shell stands between us and the program, for the one thing that only it can do: it sees the end
# of its standard input however we end, kill -9 included, and then ends the program in order. A
# SIGTERM is handed on, a Ctrl-C is ours alone, and it ends with the program's own code.
_SUPERVISE = """
exec 3<&0
"$@" </dev/null 3<&- & pid=$!
trap "" INT; trap 'kill -TERM $pid' TERM
( trap "" TERM; while read -r _; do :; done <&3; kill -TERM $pid ) & watcher=$!
code=0; wait $pid; code=$?
while kill -0 $pid 2>/dev/null; do wait $pid; code=$?; done
kill -KILL $watcher 2>/dev/null
exit $code
"""


class SupervisedProcess:
    """One place for a program; whatever fills it is a process group of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environ: Mapping[str, str],
        keep_open: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        """Its standard output and error, appended to."""
        self.environ = dict(environ)
        """Put over our own environment."""
        self._command = list(command)
        self._keep_open = tuple(keep_open)
        """Descriptors that the program keeps for as long as it lives."""
        self._shell: subprocess.Popen[bytes] | None = None
        self._num_restarts = 0

    def start(self) -> None:
        """Raises OSError when there is no shell; a program that is not there ends with 127."""
        with self.log.open("ab") as log:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _SUPERVISE, "sh", *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
                pass_fds=self._keep_open,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end it in order
            )

    @property
    def code(self) -> int | None:
        """Its exit code once it has ended; 128 + n after signal n."""
        return None if self._shell is None else self._shell.poll()

    @property
    def running(self) -> bool:
        return self._shell is not None and self._shell.poll() is None

    def holds(self, pid: int) -> bool:
        """Whether that process is one of ours, or a child of it."""
        try:
            return self._shell is not None and os.getpgid(pid) == self._shell.pid
        except ProcessLookupError:
            return False

    def revive(self) -> str | None:
        """Start it again if it ended by itself; says so in a line.

        Raises ConfigurationError for what does not stay up.
        """
        if (code := self.code) is None:
            return None
        self._num_restarts += 1
        if self._num_restarts > MAX_RESTARTS:
            raise ConfigurationError(
                f"{self.name} ended {MAX_RESTARTS + 1} times, last with code {code}: "
                f"{self.last_words}; its log is {self.log}"
            )
        self._close()
        self.start()
        return f"{self.name} ended with code {code}; started again"

    @property
    def last_words(self) -> str:
        """The last line of its log, 300 characters of it."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it wrote nothing"

    def signal(self, number: signal.Signals) -> None:
        """To the whole group: program, its children, and the shell above them."""
        if self._shell is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, number)

    def terminate(self) -> None:
        """Ask it to end in order; a second time: at once, if it knows that."""
        if self._shell is not None and self._shell.poll() is None:
            self._shell.terminate()

    def kill(self) -> None:
        """kill -9, children and all."""
        self.signal(signal.SIGKILL)
        self._wait(None)

    def stop(self, *, patience_s: float) -> int:
        """End it in order, by force after `patience_s`; returns its exit code."""
        if self._shell is None:
            return 0
        self.terminate()
        try:
            code = self._wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -signal.SIGKILL
        self.signal(signal.SIGKILL)  # children that outlived it
        self._close()
        return code

    def wait(self, timeout_s: float) -> int:
        """Until it ends by itself; its exit code. Raises subprocess.TimeoutExpired."""
        return self._wait(timeout_s)

    def _wait(self, timeout_s: float | None) -> int:
        assert self._shell is not None, "it was started"
        return self._shell.wait(timeout=timeout_s)

    def _close(self) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            self._shell.stdin.close()
