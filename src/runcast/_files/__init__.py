"""The files of runs: their inputs, their outputs, and where both are kept."""
