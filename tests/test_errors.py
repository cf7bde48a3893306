"""How commands end."""

import os
import subprocess
import sys

import pytest

SAYS = "from dti.errors import DtiError, run_or_exit\ndef main():\n    {}\nrun_or_exit(main)"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_ends_a_command_without_a_traceback(lines):
    reads, writes = os.pipe()
    os.close(reads)
    code = SAYS.format(f"print('a line\\n' * {lines})")
    done = subprocess.run([sys.executable, "-c", code], stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("does", "code", "says"),
    [
        ("raise DtiError('a.csv, row 3: no label')", 1, "ERROR: a.csv, row 3: no label\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
    ],
)
def test_what_is_refused_or_stopped_says_so_in_a_line(does, code, says):
    done = subprocess.run([sys.executable, "-c", SAYS.format(does)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, says)


def test_another_broken_pipe_is_not_silenced():
    code = SAYS.format("raise BrokenPipeError('a worker')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "BrokenPipeError: a worker" in done.stderr
