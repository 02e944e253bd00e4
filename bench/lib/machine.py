"""Environment of a measurement: hardware, versions, commit, and CPU use of other processes."""

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
import torch
import torchvision

MAX_OTHERS_PERCENT = 5  # of the CPU: more makes a measurement invalid


class Gpu(TypedDict):
    """GPU 0; every value is None without one."""

    gpu: str | None
    gpu_memory_gb: float | None
    gpu_multiprocessors: int | None
    gpu_capability: str | None
    cuda: str | None
    driver: str | None


class Checkout(TypedDict):
    """Code that runs; None where it is unknown."""

    commit: str | None
    uncommitted_changes: bool | None


class Machine(Gpu, Checkout):
    """Hardware, versions and commit as written to result files; None where unknown or absent.

    Attributes:
        load: load average over a minute.
        threads: of torch.
    """

    cpu: str
    cores: int | None
    threads: int
    load: float | None
    python: str
    torch: str
    torchvision: str
    triton: str | None
    opencv: str
    numpy: str


def describe() -> Machine:
    """Describes the machine, the installed versions and the commit."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **_gpu(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "triton": version_of("triton"),
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        **_checkout(),
    }


def processor_name(machine: Machine, device: str) -> str:
    """Name of the processor behind a device ("cpu" or "cuda")."""
    return str(machine["gpu" if device == "cuda" else "cpu"] or device)


def file_name_of(machine: Machine, device: str) -> str:
    """`processor_name` as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", processor_name(machine, device).lower()).strip("-")


def headline(machine: Machine, device: str) -> str:
    """Processor, threads and torch version, for the line above a table."""
    name = processor_name(machine, device)
    return f"{name}, {machine['threads']} threads, torch {machine['torch']}"


def version_of(package: str) -> str | None:
    """Version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class OtherProcesses:
    """CPU use of other processes since construction.

    Child processes count as this process once they have ended. On two cores, one other busy
    process delays a threaded operation at every barrier, by up to a factor of 100.
    """

    def __init__(self) -> None:
        self.start = _cpu_seconds()

    def percent(self) -> float | None:
        """Share of all cores' time in percent; None where the system does not report it."""
        now = _cpu_seconds()
        if self.start is None or now is None:
            return None
        total, busy, own = (b - a for a, b in zip(self.start, now, strict=True))
        return max(0.0, 100 * (busy - own) / total) if total > 0 else 0.0


def is_disturbed(percent: float | None) -> bool:
    """Whether CPU use of other processes, in percent, makes a measurement invalid."""
    return (percent or 0) > MAX_OTHERS_PERCENT


def disturbance_note(percent: float | None) -> list[str]:
    """Note below a table of invalid times; empty where other processes were idle."""
    if not is_disturbed(percent):
        return []
    return [
        f"These times are invalid: other processes used more than {MAX_OTHERS_PERCENT} % of the "
        f"CPU ({percent:.0f} %)."
    ]


def wait_until_idle(seconds: float) -> None:
    """Waits until other processes are idle for two seconds, at most about `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        others = OtherProcesses()
        time.sleep(2)
        if not is_disturbed(others.percent()):
            return


def _cpu_seconds() -> tuple[float, float, float] | None:
    """Seconds of all cores: in total, busy, and busy for this process."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0]
        user, nice, system, idle, wait, irq, soft = map(int, first.split()[1:8])
    except (OSError, ValueError):
        return None
    busy = user + nice + system + irq + soft
    own, tick = os.times(), os.sysconf("SC_CLK_TCK")
    of_children = own.children_user + own.children_system
    return (busy + idle + wait) / tick, busy / tick, own.user + own.system + of_children


def _gpu() -> Gpu:
    if not torch.cuda.is_available():
        return {
            "gpu": None,
            "gpu_memory_gb": None,
            "gpu_multiprocessors": None,
            "gpu_capability": None,
            "cuda": None,
            "driver": None,
        }
    card = torch.cuda.get_device_properties()
    return {
        "gpu": card.name,
        "gpu_memory_gb": round(card.total_memory / 1e9, 1),
        "gpu_multiprocessors": card.multi_processor_count,
        "gpu_capability": f"{card.major}.{card.minor}",
        "cuda": torch.version.cuda,
        "driver": _driver(),
    }


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    lines = _output(query)
    return lines.splitlines()[0] if lines else None


def _checkout() -> Checkout:
    """Commit of the git checkout; environment variable COLOCAM_COMMIT outside of one."""
    commit = _output(["git", "rev-parse", "HEAD"]) or os.environ.get("COLOCAM_COMMIT")
    changes = _output(["git", "status", "--porcelain", "--untracked-files=no"])
    return {
        "commit": commit,
        "uncommitted_changes": None if changes is None else bool(changes),
    }


def commit_name() -> str:
    """Abbreviated commit, with a + where tracked files differ from it."""
    checkout = _checkout()
    if checkout["commit"] is None:
        return "no checkout"
    return f"{checkout['commit'][:7]}{'+' if checkout['uncommitted_changes'] else ''}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _output(command: list[str]) -> str | None:
    """Output of a command; None where it fails or is not installed."""
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
