"""Train LLMs for click-through-rate prediction fast, with leakage-free Dynamic Target Isolation (DTI)."""

__version__ = "0.1.0"
