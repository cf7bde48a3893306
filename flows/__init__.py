"""Prefect: runs that anyone can start, watch, stop and trust from the UI. dvc.yaml stays the only graph.

No module here may say ``from __future__ import annotations``: Prefect reads the flows' annotations, and served runs
then fail where runs in this process do not.
"""
