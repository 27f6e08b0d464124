"""The API of code inside a run: the writer, the context, questions, yields."""
