from __future__ import annotations

import io
import logging

import pytest

from bot.logs import SecretFormatter

TELEGRAM = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw_"
DISCORD = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs_abc"


@pytest.mark.parametrize("known", [(TELEGRAM, DISCORD), ()])
def test_no_token_shows_in_messages_arguments_and_tracebacks(known: tuple[str, ...]) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(SecretFormatter(known))
    log = logging.Logger("here")
    log.addHandler(handler)
    log.info("GET https://api.telegram.org/bot%s/getMe", TELEGRAM)
    log.info("GET https://api.telegram.org/bot%s/getMe", TELEGRAM.replace(":", "%3A"))
    log.info({"Authorization": f"Bot {DISCORD}"})
    try:
        raise ValueError(f"no such bot: {TELEGRAM}")
    except ValueError:
        log.exception("%s is wrong", DISCORD)
    shown = text.getvalue()
    assert shown.count("[secret]") == 5
    assert "Traceback" in shown
    for secret in (TELEGRAM, TELEGRAM.partition(":")[2], DISCORD, DISCORD[-20:]):
        assert secret not in shown


def test_the_second_half_of_a_token_is_as_secret() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "half: %s", (TELEGRAM.partition(":")[2],), None)
    assert SecretFormatter([TELEGRAM]).format(record).endswith("half: [secret]")
    assert "x: half: " in SecretFormatter([TELEGRAM]).format(record)
