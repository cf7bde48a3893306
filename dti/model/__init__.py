"""The language model as a click predictor: backbone, adapter, two-row head at the probes."""

from transformers.utils import logging

# transformers' own bars for loading and saving weights would tear this project's progress lines apart.
logging.disable_progress_bar()
