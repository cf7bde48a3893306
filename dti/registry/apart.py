"""Scores requests with a model by the model's own code: ``python -P apart.py MODEL REQUESTS.jsonl SCORES.npy``.

A version carries the code that serves it. This file runs by its path in a process of its own, so that nothing of the
project's present code is loaded, however much of it has changed since. It therefore imports nothing of the project.
"""

import itertools
import json
import sys
import time

import mlflow.pyfunc
import numpy as np

AT_ONCE = 2000
"""Requests of one call."""
EVERY = 10.0
"""Seconds between lines of progress."""


def main(model: str, requests: str, scores: str) -> None:
    """Write the score of each request's first candidate, in order, as float64 (R,)."""
    scorer = mlflow.pyfunc.load_model(model)
    parts: list[np.ndarray] = []
    shown, done = time.monotonic(), 0
    with open(requests, encoding="utf-8") as lines:  # noqa: PTH123
        while chunk := [json.loads(line) for line in itertools.islice(lines, AT_ONCE)]:
            answers = scorer.predict(chunk)
            parts.append(np.array([answer["scores"][0] for answer in answers], np.float64))
            done += len(chunk)
            if time.monotonic() - shown >= EVERY:
                shown = time.monotonic()
                print(f"scored {done:,} targets", flush=True)
    np.save(scores, np.concatenate(parts) if parts else np.empty(0))


if __name__ == "__main__":
    main(*sys.argv[1:])
