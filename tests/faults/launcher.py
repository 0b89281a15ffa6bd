"""A process that has imported the whole app, and does each run in a copy of itself.

It reads a line of JSON for each run and answers with one; ``conftest.py`` starts it, with ``interpose.c``
before the C library where a compiler was found. A copy is made in a moment, so that a run of three people
takes half a second, and what is spoiled in it is gone with it.
"""

import ctypes
import json
import os
import select
import signal
import sys
import time

CALLS = ("open", "write", "rename", "fsync", "link", "unlink", "mkdir", "readdir", "read", "any")
HOWS = ("once", "onward", "kill", "short")


def disturb(job):
    """Tell the library which folders count, and what is to go wrong."""
    library = ctypes.CDLL(None)
    for folder in job.get("folders", ()):
        library.faults_root(folder.encode())
    if job.get("record"):
        library.faults_record(job["record"].encode())
    if job.get("fault"):
        call, n, how, error = job["fault"]
        library.faults_set(CALLS.index(call), ctypes.c_long(n), HOWS.index(how), error)


def do(job, run, said, result):
    """Run the app in this copy, and leave without cleaning up what belongs to the launcher."""
    code = 70
    try:
        for stream in (1, 2):
            os.dup2(said, stream)
        if job.get("folders"):
            disturb(job)
        code = run(job["arguments"])
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        counts = {}
        if job.get("folders"):
            library = ctypes.CDLL(None)
            counts = {call: library.faults_count(number) for number, call in enumerate(CALLS)}
        os.write(result, json.dumps(counts).encode())
        os._exit(code if isinstance(code, int) else 70)


def launch(job, run):
    """Make the copy, wait for it, and stop it where it takes too long."""
    said = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    source, result = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        do(job, run, said, result)
    os.close(said)
    os.close(result)
    has_ended = bool(select.select([source], [], [], job["limit_s"])[0])
    if not has_ended:
        os.kill(child, signal.SIGKILL)
    counts = os.read(source, 65536)
    os.close(source)
    _, status, used = os.wait4(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "has_hung": not has_ended,
        "seconds": time.monotonic() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "counts": json.loads(counts or b"{}"),
    }


def main():
    """Import, run once so that all is loaded, then serve."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the first run says is not an answer
    from bids_group.cli import main as run
    from bids_group.inference import forecast

    forecast._ENOUGH = 1e-9  # a quarter of so small a run went into its forecast
    for arguments in json.loads(sys.stdin.readline()):
        code = run(arguments)
        if code:
            sys.exit(f"The first run ended with {code}.")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(launch(json.loads(line), run)), file=answers, flush=True)


if __name__ == "__main__":
    main()
