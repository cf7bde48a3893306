"""The training loop: exact steps, one learning-rate curve, checkpoints that survive a kill."""
