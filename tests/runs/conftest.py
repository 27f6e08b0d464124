"""Fixtures of the tests of runs."""

from tests.opening import clock as clock
from tests.opening import store as store
