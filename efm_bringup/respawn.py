"""Run one node, and start it again after it died."""

from __future__ import annotations

import subprocess
import sys
import threading

from efm_bringup.graph import RESPAWN_DELAY_S
from efm_core.stop_signals import on_stop


def main(command: list[str]) -> int:
    """
    Run ``command`` until it exits with code 0 or a signal asks it to stop; return its exit code.

    SIGINT, SIGTERM and SIGHUP are passed on to the command. After them it is not started again.
    """
    stopping = threading.Event()
    children: list[subprocess.Popen[bytes]] = []

    def stop(number: int, frame: object) -> None:
        stopping.set()
        for child in children:
            child.send_signal(number)

    on_stop(stop)
    while True:
        children[:] = [subprocess.Popen(command)]
        code = children[0].wait()
        if code == 0 or stopping.is_set():
            return max(code, 0)
        text = f'exit code {code}; starting again in {RESPAWN_DELAY_S} s'
        print(text, file=sys.stderr, flush=True)
        if stopping.wait(RESPAWN_DELAY_S):
            return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
