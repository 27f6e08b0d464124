"""What code inside a run uses: the writer, the context, questions, the outcome."""
