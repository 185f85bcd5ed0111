"""Keeps one node alive: runs a command, and runs it again when it has died."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from efm_bringup.graph import RESPAWN_DELAY_S


def main(command: list[str]) -> int:
    """
    Run ``command`` until it ends by itself with code 0, or is asked to; return its code.

    SIGINT and SIGTERM go on to it, and after them it is not started again.
    """
    asked = threading.Event()
    children: list[subprocess.Popen] = []

    def stop(number: int, frame: object) -> None:
        asked.set()
        for child in children:
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    while True:
        children[:] = [subprocess.Popen(command)]
        code = children[0].wait()
        if code == 0 or asked.is_set():
            return max(code, 0)
        print(f'ended with code {code}; again in {RESPAWN_DELAY_S} s', file=sys.stderr, flush=True)
        if asked.wait(RESPAWN_DELAY_S):
            return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
