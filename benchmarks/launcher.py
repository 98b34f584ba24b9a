"""Run one command and print what it used as JSON; started by `benchmarks.timing.run_alone`.

A process begins its life with the peak memory of the one that started it. So the command is not
started by the benchmarks, which are large, but by this small script.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Start what stands in the arguments, wait for it, and print its usage."""
    command = sys.argv[1:]
    quiet = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    start = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=[quiet])
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    # Linux counts kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    used = {
        "returncode": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * unit,
    }
    print(json.dumps(used))


if __name__ == "__main__":
    main()
