"""A process on a leash, and its children, end when their owner ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dti.workspace import LEASH

# Starts a child as DVC does, and says both ids; both note what they are asked.
PARENT = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(os.getpid(), child.pid, flush=True)
signal.signal(signal.SIGINT, signal.SIG_IGN)
child.wait()
"""
OBEYS = "import signal, time\nsignal.signal(signal.SIGINT, lambda *_: exit(0))\ntime.sleep(100)"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(100)"


def gone(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(condition, seconds=40):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def start():
    """``start(code)``: the leash's process, and the ids of the command and of its child that runs the code."""
    running = []

    def begin(code):
        command = [sys.executable, "-P", str(LEASH), sys.executable, "-c", PARENT, code]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process, *map(int, process.stdout.readline().split())

    yield begin
    for process in running:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("code", [OBEYS, STUBBORN])
def test_when_the_owner_lets_go_all_end(start, code):
    process, parent, child = start(code)
    time.sleep(0.5)
    process.stdin.close()
    process.wait(timeout=40)
    wait_for(lambda: gone(parent) and gone(child))


def test_when_the_command_is_killed_its_children_end(start):
    process, parent, child = start(OBEYS)
    os.kill(parent, signal.SIGKILL)
    assert process.wait(timeout=40) == 128 + signal.SIGKILL
    wait_for(lambda: gone(child))


def test_when_the_owner_is_killed_all_end(tmp_path):
    """The owner's end of the pipe closes with it, whatever killed it."""
    owner = "import subprocess, sys\np = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\np.wait()\n"
    command = [sys.executable, "-P", str(LEASH), sys.executable, "-c", PARENT, OBEYS]
    process = subprocess.Popen([sys.executable, "-c", owner, *command], stdout=subprocess.PIPE, text=True)
    parent, child = map(int, process.stdout.readline().split())
    process.kill()
    process.wait()
    process.stdout.close()
    wait_for(lambda: gone(parent) and gone(child))


def test_an_interrupt_is_passed_on_and_the_exit_code_comes_back(start):
    process, _, child = start(OBEYS)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=40) == 0
    wait_for(lambda: gone(child))


def test_the_command_hears_interrupts_even_where_its_owner_ignores_them():
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    words = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-P", str(LEASH), sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
