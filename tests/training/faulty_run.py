"""Script: runs train.py in processes with injected faults, for the tests in this folder.

    python faulty_run.py JOBS.json

Each job is {"argv": …, "log": file of the output, "faults": [{"at": "module:name", "call": k,
"do": …}]}: at the start of the k-th call of that function, the process is sent a signal (an
integer), or two of them at once ([15, 15]), or cannot write any more ("full disk"), or another
fault is installed, whose calls are counted from then on.
Writes the exit statuses, negative for a signal, as "statuses" into the same file. The processes
are forks of this one, which has imported everything and computed nothing.
"""

import importlib
import json
import os
import resource
import signal
import sys
import traceback

import torch

from colocam.cli.train import main


def cause(action):
    if action == "full disk":  # files may not grow: the system raises an error
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        return
    if isinstance(action, dict):
        install(action)
        return
    for number in action if isinstance(action, list) else [action]:
        os.kill(os.getpid(), number)


def install(fault):
    module, _, name = fault["at"].partition(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, last), 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == fault["call"]:
            cause(fault["do"])
        return original(*args, **kwargs)

    setattr(owner, last, counted)


def start(job):
    child = os.fork()
    if child:
        return child
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        torch.set_num_threads(1)
        for fault in job["faults"]:
            install(fault)
        status = main(job["argv"])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        jobs = json.load(file)
    running, statuses, waiting = {}, [None] * len(jobs), list(enumerate(jobs))
    while waiting or running:
        while waiting and len(running) < 2:
            number, job = waiting.pop(0)
            running[start(job)] = number
        child, status = os.wait()
        statuses[running.pop(child)] = os.waitstatus_to_exitcode(status)
    with open(sys.argv[1], "w") as file:
        json.dump({"statuses": statuses}, file)
