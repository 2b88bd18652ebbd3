"""What a process that lives long gives back; each measured in a process of its own."""

import platform
import subprocess
import sys

import pytest

TORN = """
import psutil
from replication.memory import settle_memory
{settled}
process, kept = psutil.Process(), []
bytearray(262144)  # freed: from now on glibc would have such blocks in the heap
before = process.memory_info().rss
for _ in range(2):
    buffers = []
    for number in range(200):
        buffers.append(bytearray(262144))
        kept.append(bytes(5000))  # lies between two of them
    buffers.clear()
print((process.memory_info().rss - before) >> 20)
"""
BURST = """
import time, psutil
from replication.memory import settle_memory
{settled}
process, kept = psutil.Process(), []
before = process.memory_info().rss
burst = [bytes(5000) for _ in range(20_000)]
kept = burst[::20]  # lie between those that go
del burst
time.sleep(0.5)
print((process.memory_info().rss - before) >> 20)
"""
OLD_CIRCLES = """
import gc
from replication.memory import settle_memory
imported = [[] for _ in range(500_000)]
gc.collect()
{settled}
class End: ...
alive, begun, most = 0, 0, 0
class Ended(End):
    def __init__(self):
        global alive, most
        self.peer, self.objects = self, [[] for _ in range(20)]
        alive += 1
        most = max(most, alive)
    def __del__(self):
        global alive
        alive -= 1
open_ones = []
for _ in range(30_000):
    open_ones.append(Ended())
    del open_ones[:-100]  # each lives long enough to be old
print(most)
"""


def run_it(program: str, *, settled: bool) -> int:
    text = program.format(settled="settle_memory(trim_seconds=0.1)" if settled else "")
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_large_blocks_that_ended_go_back_to_the_system():
    assert run_it(TORN, settled=False) > 3 * run_it(TORN, settled=True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_what_a_burst_left_between_objects_that_stay_goes_back_too():
    assert run_it(BURST, settled=False) > 3 * run_it(BURST, settled=True)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this collector goes step by step")
def test_old_circles_are_collected_soon_however_much_was_imported():
    assert run_it(OLD_CIRCLES, settled=False) > 2 * run_it(OLD_CIRCLES, settled=True)
