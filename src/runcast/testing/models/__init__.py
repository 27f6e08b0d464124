"""A server that stands in for a model: the APIs of OpenAI and Anthropic, answered from a script."""
