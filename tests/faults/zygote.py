"""Runs `zcolor` commands, each in a process of its own that has torch imported already.

Reads calls from standard input, a line of JSON each (what `runs.Zygote.start` takes), and answers
with the process number of the command and, when it has ended, with its exit code (minus the signal
that ended it). Starting Python and torch anew for each of a hundred commands would take minutes.
"""

import ctypes
import json
import os
import resource
import signal
import sys


def child(call):
    """Become the command; ends as the installed `zcolor` does."""
    log = os.open(call["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(call["cwd"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background work ignore it
    if call["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (call["largest"], call["largest"]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error in place of a signal
    if call["obeys"]:
        drop_capabilities()
    sys.exit(main(call["argv"]))


def drop_capabilities():
    """Take from root what lets it read and write everything; others have it not."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = (ctypes.c_uint32 * 2)(0x20080522, 0)  # linux/capability.h, of this process
    if libc.capset(version, (ctypes.c_uint32 * 6)()):  # effective, permitted, inherited: none
        raise OSError(ctypes.get_errno(), "capset")


def serve():
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    # All that the commands import late; but for the drawing of curves, a second for each.
    import torch._dynamo  # (the optimizers of torch import it)
    import torch.utils.tensorboard  # noqa: F401

    import zcolor.apps.folder
    import zcolor.apps.video
    import zcolor.training.loop
    import zcolor.training.pack
    import zcolor.training.pretrain  # noqa: F401
    from zcolor.apps.cli import main

    sys.modules["matplotlib.figure"] = None
    serve()
