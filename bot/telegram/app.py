"""The Telegram chat: messages, commands and taps, translated for the service."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
from typing import Any
from urllib.parse import urlsplit

from telegram import BotCommand, Update
from telegram.error import BadRequest, Conflict, InvalidToken, NetworkError, TelegramError
from telegram.ext import AIORateLimiter, Application, ApplicationBuilder, CallbackQueryHandler, MessageHandler, filters
from telegram.request import HTTPXRequest
from tornado.httpserver import HTTPServer

from bot.config import Settings
from bot.jobs import StartError, UnreachableError
from bot.requests import COMMANDS
from bot.service import SeparationService
from bot.serving import no_port
from bot.telegram.chats import Chats
from bot.telegram.courier import TelegramCourier
from bot.telegram.desk import Desk
from bot.telegram.orders import PLATFORM
from bot.translation import said
from bot.words import ENGLISH, LANGUAGES

log = logging.getLogger(__name__)

App = Application[Any, Any, Any, Any, Any, Any]

_API = "https://api.telegram.org"
_START_S = 30.0
STOP_S = 15.0
_READ_TIMEOUT_S = 30.0
_POOL_TIMEOUT_S = 60.0
_MEDIA_WRITE_TIMEOUT_S = 120.0
_CONNECTIONS = 64
_MOST_UPDATE_BYTES = 1 << 20
_UNREADABLE = "Telegram sent a message that cannot be read; it is passed over (%s)"
_UPDATES = (Update.MESSAGE, Update.EDITED_MESSAGE, Update.CALLBACK_QUERY)


def build_application(settings: Settings) -> App:
    """The application, not yet connected, and without anything to do. Raises StartError."""
    if settings.telegram_bot_token is None:
        raise StartError("TELEGRAM_BOT_TOKEN is not set")
    base = (os.environ.get("TELEGRAM_API_BASE_URL") or _API).rstrip("/")
    if not base.startswith(("http://", "https://")):  # else it is tried for ever
        raise StartError("TELEGRAM_API_BASE_URL must begin with http:// or https://, as http://127.0.0.1:8081 does")
    # Lengths of time as the library will give them from its next version on; until then it warns each time.
    os.environ.setdefault("PTB_TIMEDELTA", "true")
    # It shows a traceback when Telegram asks it to wait, is away at the end of the bot, or sends no JSON, which it
    # quotes: nothing to worry about.
    for name in ("ext.AIORateLimiter", "ext.Updater", "request.BaseRequest"):
        logging.getLogger(f"telegram.{name}").setLevel(logging.CRITICAL)
    logging.getLogger("telegram.ext").addFilter(_is_said_by_nobody_else)
    logging.getLogger("telegram.ext.Updater").addFilter(_quotes_nobody)
    try:
        return (
            ApplicationBuilder()
            .token(settings.telegram_bot_token.get_secret_value())
            .base_url(f"{base}/bot")
            .base_file_url(f"{base}/file/bot")
            .local_mode(settings.telegram.local_mode)
            .concurrent_updates(True)
            # No retries here: one chat that has to wait would halt all others; see http.insist.
            .rate_limiter(AIORateLimiter(max_retries=0))
            .request(
                _Request(
                    connection_pool_size=_CONNECTIONS,
                    pool_timeout=_POOL_TIMEOUT_S,
                    read_timeout=_READ_TIMEOUT_S,
                    media_write_timeout=_MEDIA_WRITE_TIMEOUT_S,
                )
            )
            .get_updates_request(_ReadableUpdates(connection_pool_size=1))
            .build()
        )
    except InvalidToken:
        raise StartError("TELEGRAM_BOT_TOKEN is empty") from None


class _Request(HTTPXRequest):
    """Takes an answer that is none, as a proxy's page, for an outage."""

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """Telegram's answer; raises NetworkError."""
        try:
            return HTTPXRequest.parse_json_payload(payload)
        except TelegramError as error:
            raise NetworkError(error.message) from error


class _ReadableUpdates(_Request):
    """Empties updates that the library cannot read: it would ask for them again for ever, and show them in the log."""

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """Telegram's answer."""
        answer = _Request.parse_json_payload(payload)
        if isinstance(updates := answer.get("result"), list):
            answer["result"] = [one if _is_readable(one) else {"update_id": one["update_id"]} for one in updates]
        return answer


def _is_readable(update: dict[str, Any]) -> bool:
    try:
        Update.de_json(update, None)
    except Exception as error:  # noqa: BLE001  whatever the library stumbles over
        log.error(_UNREADABLE, _why(error))
        return False
    return True


def _why(error: BaseException) -> str:
    """What other errors say may be what people wrote."""
    return str(error) if isinstance(error, TypeError) else type(error).__name__


class TelegramApp:
    """The Telegram chat as it is served; ``str()`` says where it is."""

    def __init__(self, settings: Settings, service: SeparationService) -> None:
        self._settings, self._service = settings.telegram, service
        self._app = build_application(settings)
        chats = Chats(self._app.bot, lambda chat, to: service.move_chat(PLATFORM, chat, to))
        desk = Desk(chats, settings, service)
        self._app.add_handler(MessageHandler(filters.UpdateType.MESSAGES & ~filters.StatusUpdate.ALL, desk.message))
        self._app.add_handler(MessageHandler(filters.StatusUpdate.MIGRATE, desk.moved))
        self._app.add_handler(CallbackQueryHandler(desk.tapped))
        self._app.add_error_handler(desk.apologise)
        self._courier = TelegramCourier(self._app.bot, chats, settings, service)

    def __str__(self) -> str:
        where = "webhook" if self._settings.webhook_url else "polling"
        return f"Telegram: https://t.me/{self._app.bot.username}, {where}"

    async def start(self) -> None:
        """See ChatApp."""
        try:
            if not self._app.running:
                async with asyncio.timeout(_START_S):
                    await self._app.initialize()
                    await self._set_menu()
                self._service.attach(PLATFORM, self._courier)
                await self._app.start()
            await self._listen()
        except InvalidToken:
            raise StartError("Telegram does not know the token in TELEGRAM_BOT_TOKEN") from None
        except (TelegramError, TimeoutError, OSError) as error:
            # Its own text may hold the address, and that the token.
            raise UnreachableError(f"Telegram cannot be reached ({type(error).__name__})") from None

    async def stop(self) -> None:
        """Disconnects; answers that are on their way get a few seconds."""
        try:
            async with asyncio.timeout(STOP_S):
                if self._app.updater and self._app.updater.running:
                    await self._app.updater.stop()
                if self._app.running:
                    await self._app.stop()
        except TimeoutError:
            log.info("some answers could not be sent before the end")
        finally:
            await self._app.shutdown()
            await self._app.bot.shutdown()

    async def _set_menu(self) -> None:
        try:
            for language in LANGUAGES:
                menu = [BotCommand(name, said(about, language)) for name, about in COMMANDS.items()]
                # English is for all who have no menu in their language
                code = None if language == ENGLISH else language
                await self._app.bot.set_my_commands(menu, language_code=code)
        except TelegramError:
            log.exception("Telegram did not take the menu; the one that it knows goes on working")

    async def _listen(self) -> None:
        updater, settings = self._app.updater, self._settings
        assert updater is not None
        if settings.webhook_url is None:
            await updater.start_polling(
                drop_pending_updates=False, allowed_updates=_UPDATES, bootstrap_retries=2, error_callback=_log_polling
            )
            return
        host, port = settings.webhook_host, settings.webhook_port
        # it would hold 100 MB of whatever comes before anybody asks for the secret
        HTTPServer.configure(None, max_body_size=_MOST_UPDATE_BYTES)
        try:
            await updater.start_webhook(
                listen=host,
                port=port,
                url_path=urlsplit(settings.webhook_url).path.lstrip("/"),
                webhook_url=settings.webhook_url,
                secret_token=secrets.token_urlsafe(32),
                drop_pending_updates=False,
                allowed_updates=_UPDATES,
                bootstrap_retries=0,
            )
        except BadRequest as error:
            # the library writes it in small letters, and a server might repeat what it was asked
            words = re.sub(re.escape(self._app.bot.token), "…", error.message, flags=re.IGNORECASE)
            raise StartError(
                f"Telegram does not take telegram.webhook_url (SPECTACLES_TELEGRAM__WEBHOOK_URL): {words}"
            ) from None
        except (OSError, ValueError) as error:
            raise no_port("Telegram's webhook", host, port, ("telegram", "webhook_port"), error) from error


def _is_said_by_nobody_else(record: logging.LogRecord) -> bool:
    """False for tracebacks of what ``start`` raises as a sentence."""
    return "(Bootstrap " not in record.getMessage()


def _quotes_nobody(record: logging.LogRecord) -> bool:
    """True, once it is: what the library cannot read of a webhook's it shows, and so what people wrote."""
    if record.args and record.exc_info and record.exc_info[1]:
        record.msg, record.args, record.exc_info = _UNREADABLE, (_why(record.exc_info[1]),), None
    return True


def _log_polling(error: TelegramError) -> None:
    if isinstance(error, Conflict):
        log.error("another program asks for the messages of this bot; only one can have them")
    else:
        log.warning("no messages from Telegram just now (%s)", type(error).__name__)
