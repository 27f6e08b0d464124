"""Fixtures of the hub's tests."""

from tests.opening import clock as clock
from tests.opening import store as store
