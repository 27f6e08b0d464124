"""The Mattermost for tests, called by mattermostautodriver: a second party that knows it."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from mattermostautodriver import TypedDriver
from mattermostautodriver.exceptions import (
    InvalidOrMissingParameters,
    MattermostError,
    NoAccessTokenProvided,
    NotEnoughPermissions,
    ResourceNotFound,
)

from runcast.testing import ChatFault, FakeClock, FakeMattermost

pytestmark = pytest.mark.heavy  # it imports a large library


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def mattermost(clock: FakeClock) -> Iterator[FakeMattermost]:
    with FakeMattermost(clock=clock) as platform:
        yield platform


def driver_of(mattermost: FakeMattermost, token: str) -> TypedDriver:
    parts = urlsplit(mattermost.url)
    options = {"url": parts.hostname, "port": parts.port, "scheme": "http", "token": token}
    return TypedDriver({**options, "max_retries": 0})


@pytest.fixture
def driver(mattermost: FakeMattermost) -> Iterator[TypedDriver]:
    with driver_of(mattermost, mattermost.TOKEN) as made:
        made.login()
        yield made


def test_posts_are_made_changed_and_deleted(
    mattermost: FakeMattermost, driver: TypedDriver
) -> None:
    place = mattermost.channels[0]
    made = driver.posts.create_post(channel_id=place, message="one")
    driver.posts.create_post(channel_id=place, message="reply", root_id=made["id"])
    driver.posts.patch_post(post_id=made["id"], message="two")
    assert mattermost.shown(place) == ["two", "reply"]
    assert driver.posts.get_post(post_id=made["id"])["message"] == "two"
    driver.posts.delete_post(post_id=made["id"])
    assert mattermost.shown(place) == ["reply"]
    with pytest.raises(NotEnoughPermissions):
        driver.posts.patch_post(post_id=made["id"], message="three")
    with pytest.raises(ResourceNotFound):
        driver.posts.get_post(post_id=made["id"])


def test_refusals_are_those_of_mattermost(mattermost: FakeMattermost, driver: TypedDriver) -> None:
    place = mattermost.channels[0]
    for message in ("x" * 16_384, " "):
        with pytest.raises(InvalidOrMissingParameters):
            driver.posts.create_post(channel_id=place, message=message)
    with pytest.raises(NotEnoughPermissions):
        driver.posts.create_post(channel_id="z" * 26, message="x")
    with driver_of(mattermost, "nobody") as stranger, pytest.raises(NoAccessTokenProvided):
        stranger.login()


def test_a_token_makes_a_hundred_calls_at_once(
    mattermost: FakeMattermost, driver: TypedDriver, clock: FakeClock
) -> None:
    place = mattermost.channels[0]
    for number in range(99):  # and the login
        driver.posts.create_post(channel_id=place, message=str(number))
    with pytest.raises(MattermostError) as caught:
        driver.posts.create_post(channel_id=place, message="one more")
    assert "10" in repr(vars(caught.value))
    clock.advance(10)
    driver.posts.create_post(channel_id=place, message="one more")
    assert mattermost.shown(place)[-1] == "one more"


def test_faults_reach_the_client(mattermost: FakeMattermost, driver: TypedDriver) -> None:
    mattermost.fail(ChatFault(kind="limited", retry_after_s=7), ChatFault(kind="error"))
    for _ in range(2):
        with pytest.raises(MattermostError):
            driver.posts.create_post(channel_id=mattermost.channels[0], message="x")
