"""What a measurement ran on: hardware, versions, commit; and who else used it meanwhile."""

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision

QUIET_PERCENT = 5  # of the CPU: beyond it other processes spoil what is measured


def describe() -> dict[str, object]:
    """Hardware, versions, commit and how busy the machine is, to stand beside every number.

    None for what does not exist or cannot be told here.
    """
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


def name_of(machine: dict[str, object], device: str) -> str:
    """What computes on a device ("cpu" or "cuda") of the machine that `describe` gave."""
    return str(machine["gpu" if device == "cuda" else "cpu"] or device)


def file_name_of(machine: dict[str, object], device: str) -> str:
    """The same, as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name_of(machine, device).lower()).strip("-")


def headline(machine: dict[str, object], device: str) -> str:
    """The same with what else stands above every table."""
    return f"{name_of(machine, device)}, {machine['threads']} threads, torch {machine['torch']}"


def version_of(package: str) -> str | None:
    """An installed package's version."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class OtherProcesses:
    """How much of the CPU processes other than this one take, from its making on.

    Processes that this one started are its own, once they have ended.

    On two cores one busy bystander makes a threaded operation wait at every barrier: a hundred
    times slower, and evenly so.
    """

    def __init__(self) -> None:
        self.start = _cpu_seconds()

    def percent(self) -> float | None:
        """Their share of all cores' time; None where the system does not tell."""
        now = _cpu_seconds()
        if self.start is None or now is None:
            return None
        total, busy, own = (b - a for a, b in zip(self.start, now, strict=True))
        return max(0.0, 100 * (busy - own) / total) if total > 0 else 0.0


def disturbing(percent: float | None) -> bool:
    """Whether others took so much of the CPU that times taken meanwhile mean nothing."""
    return (percent or 0) > QUIET_PERCENT


def distrust(percent: float | None) -> list[str]:
    """The line below a table whose times others disturbed; none where they did not."""
    if not disturbing(percent):
        return []
    return [
        f"Do not trust these times: other processes took more than {QUIET_PERCENT} % of the "
        f"CPU ({percent:.0f} %)."
    ]


def wait_for_quiet(seconds: float) -> None:
    """Returns once others disturbed nothing for two seconds, or so many have passed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        others = OtherProcesses()
        time.sleep(2)
        if not disturbing(others.percent()):
            return


def _cpu_seconds() -> tuple[float, float, float] | None:
    """Of all cores in all, busy, and busy for this process."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0]
        user, nice, system, idle, wait, irq, soft = map(int, first.split()[1:8])
    except (OSError, ValueError):
        return None
    busy = user + nice + system + irq + soft
    own, tick = os.times(), os.sysconf("SC_CLK_TCK")
    of_children = own.children_user + own.children_system
    return (busy + idle + wait) / tick, busy / tick, own.user + own.system + of_children


def _gpu() -> dict[str, object]:
    names = ("gpu", "gpu_memory_gb", "gpu_multiprocessors", "gpu_capability", "cuda", "driver")
    if not torch.cuda.is_available():
        return dict.fromkeys(names)
    card = torch.cuda.get_device_properties()
    facts = (
        card.name,
        round(card.total_memory / 1e9, 1),
        card.multi_processor_count,
        f"{card.major}.{card.minor}",
        torch.version.cuda,
        _driver(),
    )
    return dict(zip(names, facts, strict=True))


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    lines = _output(query)
    return lines.splitlines()[0] if lines else None


def _checkout() -> dict[str, object]:
    """The commit that runs: of the git checkout, or by COLOCAM_COMMIT where there is none."""
    commit = _output(["git", "rev-parse", "HEAD"]) or os.environ.get("COLOCAM_COMMIT")
    changes = _output(["git", "status", "--porcelain", "--untracked-files=no"])
    return {
        "commit": commit,
        "uncommitted_changes": None if changes is None else bool(changes),
    }


def commit_name() -> str:
    """The commit that runs, by its first letters, with a + where tracked files differ from it."""
    checkout = _checkout()
    if checkout["commit"] is None:
        return "no checkout"
    return f"{str(checkout['commit'])[:7]}{'+' if checkout['uncommitted_changes'] else ''}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _output(command: list[str]) -> str | None:
    """What a command prints; None where it fails or is not there."""
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
