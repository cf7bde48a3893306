"""The language model as a click predictor: backbone, adapter, two-row head at the probes."""
