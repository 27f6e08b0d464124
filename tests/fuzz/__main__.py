"""Fuzzes one target, guided by coverage: `python -m tests.fuzz TARGET [FOLDER] [options]`.

The options are libFuzzer's: https://llvm.org/docs/LibFuzzer.html#options
"""

import sys

import atheris  # type: ignore[import-untyped, unused-ignore]

with atheris.instrument_imports(include=["runcast"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    if sys.argv[1:2] not in [[name] for name in TARGETS]:
        sys.exit(f"expected a target, one of {', '.join(TARGETS)}; got {sys.argv[1:2]}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
