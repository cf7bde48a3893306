"""The report of a run: what it is worth, on which data, at what cost, and how it differs from another run."""
