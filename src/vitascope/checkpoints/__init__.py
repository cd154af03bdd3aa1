"""Other people's checkpoints: read with no trust whatever their layout, and ours written in theirs."""
