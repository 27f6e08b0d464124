"""The Telegram for tests, called by python-telegram-bot: a second party that knows the platform."""

from collections.abc import AsyncIterator, Iterator

import pytest
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity
from telegram.error import BadRequest, Forbidden, InvalidToken, NetworkError, RetryAfter

from runcast.testing import ChatFault, FakeTelegram

pytestmark = pytest.mark.heavy  # it imports a large library


@pytest.fixture(autouse=True)
def future(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")  # else it warns


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram([42, -100123]) as platform:
        yield platform


@pytest.fixture
async def bot(telegram: FakeTelegram) -> AsyncIterator[Bot]:
    async with Bot(telegram.TOKEN, base_url=f"{telegram.url}/bot") as made:
        yield made


async def test_messages_are_sent_edited_and_deleted(telegram: FakeTelegram, bot: Bot) -> None:
    sent = await bot.send_message(
        42, "👩 bold", entities=[MessageEntity(MessageEntity.BOLD, offset=3, length=4)]
    )
    assert telegram.shown(42) == ["👩 bold"]
    edited = await bot.edit_message_text("12", 42, sent.message_id)
    assert getattr(edited, "message_id", None) == sent.message_id
    assert telegram.shown(42) == ["12"]
    assert await bot.send_chat_action(42, "typing")
    assert await bot.delete_message(42, sent.message_id)
    assert telegram.shown(42) == []


async def test_refusals_are_those_of_telegram(telegram: FakeTelegram, bot: Bot) -> None:
    sent = await bot.send_message(42, "text")
    with pytest.raises(BadRequest, match="not modified"):
        await bot.edit_message_text("text", 42, sent.message_id)
    with pytest.raises(BadRequest, match="too long"):
        await bot.send_message(42, "😀" * 2049)
    with pytest.raises(BadRequest, match="ends after the end"):
        await bot.send_message(42, "x", entities=[MessageEntity("bold", offset=0, length=2)])
    with pytest.raises(BadRequest, match="cuts a utf-16 symbol"):
        await bot.send_message(42, "😀", entities=[MessageEntity("bold", offset=1, length=1)])
    with pytest.raises(BadRequest, match="not found"):
        await bot.edit_message_text("x", 42, 999)
    with pytest.raises(BadRequest, match="Chat not found"):
        await bot.send_message(7, "x")
    telegram.blocked_by.add(42)
    with pytest.raises(Forbidden):
        await bot.send_message(42, "x")
    with pytest.raises(InvalidToken):
        async with Bot("123456:wrong", base_url=f"{telegram.url}/bot"):
            pass


async def test_the_twenty_first_message_to_a_group_waits(telegram: FakeTelegram, bot: Bot) -> None:
    for number in range(20):
        await bot.send_message(-100123, str(number))
    with pytest.raises(RetryAfter, match=r"Retry in 0:0[01]:"):
        await bot.send_message(-100123, "one more")
    await bot.send_message(42, "another chat")


async def test_faults_reach_the_client(telegram: FakeTelegram, bot: Bot) -> None:
    telegram.fail(ChatFault(kind="late"), ChatFault(kind="error"))
    with pytest.raises(NetworkError):
        await bot.send_message(42, "late")
    with pytest.raises(NetworkError):
        await bot.send_message(42, "error")
    assert telegram.shown(42) == ["late"]


async def test_a_pressed_button_is_an_update(telegram: FakeTelegram, bot: Bot) -> None:
    keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="q:yes")]])
    sent = await bot.send_message(42, "Sure?", reply_markup=keyboard)
    pressed = telegram.press(sent.message_id, "Yes")
    [update] = await bot.get_updates(offset=0, timeout=0)
    assert update.callback_query is not None
    assert (update.callback_query.id, update.callback_query.data) == (pressed, "q:yes")
    assert await bot.answer_callback_query(pressed)
    assert list(await bot.get_updates(offset=update.update_id + 1, timeout=0)) == []


async def test_what_people_do_is_read(telegram: FakeTelegram, bot: Bot) -> None:
    markup = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="v")]])
    sent = await bot.send_message(42, "Sure?", reply_markup=markup)
    telegram.press(sent.message_id, "Yes", user=5)
    telegram.say("no", reply_to=sent.message_id)
    pressed, said = await bot.get_updates()
    assert pressed.callback_query is not None
    assert (pressed.callback_query.data, pressed.callback_query.from_user.id) == ("v", 5)
    assert await bot.answer_callback_query(pressed.callback_query.id, "Thanks")
    assert telegram.notices == {pressed.callback_query.id: "Thanks"}
    assert said.message is not None
    assert said.message.reply_to_message is not None
    assert said.message.reply_to_message.message_id == sent.message_id
    assert await bot.get_updates(offset=said.update_id + 1) == ()
