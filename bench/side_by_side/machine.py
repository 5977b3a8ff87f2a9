"""The machine: its facts, its memory, its free space."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import shutil
from pathlib import Path
from typing import Any

MIB = 1 << 20
GIB = 1 << 30
_PAGE = mmap.PAGESIZE
_STEP = 256 * MIB


def facts(directory: Path) -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(_meminfo("MemTotal") / GIB, 1),
        "kernel": platform.release(),
        "file_system": file_system(directory),
        "free_gib": round(free_bytes(directory) / GIB, 1),
        "load_before": os.getloadavg()[0],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _meminfo(field: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def file_system(directory: Path) -> str:
    """The type of the file system that a directory is on."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return "unknown"


def free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free


def warm_size(most: int) -> int:
    """How much memory to touch: seven tenths of what is free, `most` at the most."""
    return min(_meminfo("MemAvailable") * 7 // 10, most) // _PAGE * _PAGE


def touch_memory(size: int) -> None:
    """Touches each page of `size` bytes once, in a child that gives them back by ending.

    What a machine touches for the first time can cost ten times more, since its host has to find the memory first.
    """
    child = os.fork()
    if child == 0:
        _touch_and_exit(size)
    _, status = os.waitpid(child, 0)
    if status != 0:
        print(f"  (touching memory stopped early: status {status})", flush=True)


def _touch_and_exit(size: int) -> None:
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    try:
        # If memory is short after all, this process is the one to go.
        Path("/proc/self/oom_score_adj").write_text("1000")
        held = []
        for _ in range(0, size, _STEP):
            part = mmap.mmap(-1, _STEP)
            part[::_PAGE] = b"\1" * (_STEP // _PAGE)
            held.append(part)
        os._exit(0)
    except BaseException:
        os._exit(1)
