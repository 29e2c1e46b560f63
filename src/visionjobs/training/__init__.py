"""The loop (one worker), its driver (Ray Train) and its checkpoints."""
