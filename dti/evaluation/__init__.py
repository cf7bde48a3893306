"""What a model is worth: metrics, baselines beside it, plots and the result table."""
