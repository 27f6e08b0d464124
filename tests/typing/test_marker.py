"""Type checkers read the types of an installed runcast; `usage.py` is what they are tried on."""

from importlib.resources import files


def test_the_package_says_that_it_has_types() -> None:
    assert (files("runcast") / "py.typed").is_file()
