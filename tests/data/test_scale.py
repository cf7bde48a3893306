import subprocess
import sys


def test_the_scale_benchmark_runs(root, tmp_path):
    command = [sys.executable, "benchmarks/scale.py", "--interactions", "5000", "--folder", str(tmp_path)]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed[0].startswith("5,000 interactions")
    assert printed[1].startswith("prepare")
    assert "rows/s  peak" in printed[1]
    assert list(tmp_path.iterdir()) == []
