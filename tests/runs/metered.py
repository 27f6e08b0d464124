"""A function with a budget and a process of its own: imported by that process."""

import runcast


@runcast.function(isolation="process", max_tokens=100)
def spends_apart() -> str:
    for _ in range(1000):
        runcast.usage("m", 40, 20)
        runcast.flush()
    return "never"
