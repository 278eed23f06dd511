"""A Bot API server of our own on loopback, as strict as Telegram's.

The unmodified application talks to it through TELEGRAM_API_BASE_URL. ``say``, ``send`` and ``tap`` play people.
Whatever Telegram would refuse is refused with its words, and is in ``wrongs`` unless it was in ``forgiven`` before.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import web

TOKEN = "123456789:AAaBbCcDdEeFfGgHhIiJjKkLlMmNnOoPpQq"
BOT = {"id": 123456789, "is_bot": True, "first_name": "SpecTacles", "username": "SpecTaclesBot"}
DOWNLOAD_BYTES, UPLOAD_BYTES, UPLOAD_LOCAL_BYTES = 20 << 20, 50_000_000, 2_000_000_000

Json = dict[str, Any]

_REPLY = {"chat_id", "message_thread_id", "disable_notification", "reply_parameters", "reply_markup", "protect_content"}
_PARAMETERS = {
    "getMe": set[str](),
    "getUpdates": {"offset", "limit", "timeout", "allowed_updates"},
    "deleteWebhook": {"drop_pending_updates"},
    "setWebhook": {"url", "allowed_updates", "secret_token", "drop_pending_updates", "max_connections"},
    "setMyCommands": {"commands", "language_code"},
    "getFile": {"file_id"},
    "getChatAdministrators": {"chat_id"},
    "sendMessage": _REPLY | {"text", "link_preview_options"},
    "editMessageText": {"chat_id", "message_id", "text", "reply_markup", "link_preview_options"},
    "editMessageCaption": {"chat_id", "message_id", "caption", "reply_markup"},
    "deleteMessages": {"chat_id", "message_ids"},
    "sendAudio": _REPLY | {"audio", "caption", "duration", "performer", "title"},
    "sendDocument": _REPLY | {"document", "caption", "disable_content_type_detection"},
    "sendMediaGroup": _REPLY - {"reply_markup"} | {"media"},
    "sendChatAction": {"chat_id", "action", "message_thread_id"},
    "answerCallbackQuery": {"callback_query_id", "text", "show_alert"},
}


_ANONYMOUS = 1087968824
"""Telegram's own account, for those who read no ``sender_chat``."""


class Refusal(Exception):
    """What Telegram answers to a call that it does not carry out."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


def bad(description: str) -> Refusal:
    return Refusal(400, f"Bad Request: {description}")


@dataclass
class Trouble:
    """The next ``times`` calls of ``method`` go wrong: they get ``refusal``, or their connection is dropped.

    ``is_done``: only the answer is lost, and what was asked is done.
    """

    method: str
    times: int = 1
    refusal: Refusal | None = None
    is_done: bool = False


@dataclass
class Upload:
    """A file that Telegram has."""

    data: bytes
    name: str
    kind: str
    size: int


@dataclass
class TelegramServer:
    """Chats with negative ids are supergroups, which count their messages themselves; private ones share a count."""

    folder: Path
    base: str = ""
    is_local: bool = False
    wrongs: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    calls: list[tuple[float, str, Json]] = field(default_factory=list)
    """When (loop time), which method, with what."""
    uploads: list[dict[str, int]] = field(default_factory=list)
    """Of each call that brought files: their names and sizes."""
    messages: dict[tuple[int, int], Json] = field(default_factory=dict)
    said: list[tuple[float, int, str]] = field(default_factory=list)
    """All that could be seen in a chat, also if it was edited or deleted later."""
    taps: dict[str, str] = field(default_factory=dict)
    """The answers to taps."""
    menus: dict[str, list[Json]] = field(default_factory=dict)
    """By language; that of all others under an empty string."""
    languages: dict[int, str] = field(default_factory=dict)
    """Of persons, as far as their Telegram tells them."""
    admins: set[int] = field(default_factory=set)
    blocked: set[int] = field(default_factory=set)
    moved: dict[int, int] = field(default_factory=dict)
    """Groups that became supergroups, and their new numbers."""
    webhook: Json = field(default_factory=dict)
    _updates: list[Json] = field(default_factory=list)
    _files: dict[str, Upload] = field(default_factory=dict)
    _details: dict[str, Json] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))
    _counts: dict[int, itertools.count[int]] = field(default_factory=dict)

    # What people do.

    def say(self, chat: int, person: int, text: str, *, reply: Json | None = None, topic: Json | None = None) -> Json:
        """A person writes; ``topic``: of a forum, see ``open_topic``."""
        return self._from_person(chat, person, {"text": text} | _in_topic(topic), reply or topic)

    def open_topic(self, chat: int, person: int) -> Json:
        """A person opens a topic; whatever is no reply in there is, to Telegram, one to this message."""
        body = {"forum_topic_created": {"name": "songs", "icon_color": 7322096}, "is_topic_message": True}
        message = self._store(chat, self._person(person), body)
        message["message_thread_id"] = message["message_id"]
        return message

    def send(
        self,
        chat: int,
        person: int,
        kind: str,
        data: bytes,
        *,
        reply: Json | None = None,
        topic: Json | None = None,
        size: int = 0,
        **more: Any,
    ) -> Json:
        """A person sends a file; ``size``: what it pretends to have. ``more`` is of the file, or of the message."""
        about = {key: more.pop(key) for key in ("caption", "media_group_id") if key in more} | _in_topic(topic)
        file = self._keep(data, more.get("file_name", f"{kind}.bin"), kind, size or len(data))
        details = {"duration": 3} if kind != "document" else {}
        details |= {"width": 640, "height": 480} if kind == "video" else {}
        details |= {"length": 240} if kind == "video_note" else {}
        return self._from_person(chat, person, {kind: file | details | more} | about, reply or topic)

    def forward(self, chat: int, person: int, message: Json) -> Json:
        """A person forwards a message with a file."""
        origin = {"type": "user", "date": message["date"], "sender_user": message["from"]}
        words = {"caption": message["caption"]} if "caption" in message else {}
        return self._from_person(chat, person, {"forward_origin": origin, "audio": content(message)} | words, None)

    def upgrade(self, group: int, person: int, to: int, *, is_said: bool = True) -> None:
        """A group becomes a supergroup, with another id, and both say so; ``is_said``: to the bot as well."""
        self.forgiven.append("upgraded to a supergroup")
        self.moved[group] = to
        for chat, words in ((group, {"migrate_to_chat_id": to}), (to, {"migrate_from_chat_id": group})):
            message = self._store(chat, self._person(person), words)
            if is_said:
                self._push({"message": message})

    def edit(self, message: Json, **changes: Any) -> None:
        """A person edits a message."""
        message.update(changes, edit_date=int(time.time()))
        self._push({"edited_message": message})

    def tap(self, message: Json, person: int, label: str, *, chat: int | None = None) -> str:
        """A person taps on a button; returns a number for ``taps``. ``chat``: of a forged tap."""
        buttons = [button for row in message["reply_markup"]["inline_keyboard"] for button in row]
        data = next(button["callback_data"] for button in buttons if button["text"] == label)
        query = str(next(self._numbers))
        seen = message if chat is None else message | {"chat": _chat(chat)}
        body = {"id": query, "from": self._person(person), "message": seen, "chat_instance": "1", "data": data}
        self._push({"callback_query": body})
        return query

    async def tapped(self, message: Json, person: int, label: str, *, chat: int | None = None) -> str:
        """The answer to a tap."""
        query = self.tap(message, person, label, chat=chat)
        await self.until(lambda: query in self.taps)
        return self.taps[query]

    # What people see.

    def seen(self, chat: int) -> list[Json]:
        """The bot's messages in a chat."""
        return [m for (where, _), m in sorted(self.messages.items()) if where == chat and m["from"]["is_bot"]]

    def texts(self, chat: int) -> list[str]:
        return [message["text"] for message in self.seen(chat) if "text" in message]

    def files(self, chat: int) -> list[Json]:
        """Messages with stems."""
        return [message for message in self.seen(chat) if "audio" in message or "document" in message]

    def names(self, chat: int) -> list[str]:
        return [content(message)["file_name"] for message in self.files(chat)]

    def data(self, message: Json) -> bytes:
        return self._files[content(message)["file_id"]].data

    def notes(self, chat: int) -> list[Json]:
        """Messages with the buttons of a result."""
        return [m for m in self.seen(chat) if "FLAC" in labels(m)]

    def transcript(self, chat: int) -> str:
        """What is to be seen at last."""
        return "\n".join(map(_shown, self.seen(chat)))

    def count(self, method: str) -> int:
        return sum(called == method for _, called, _ in self.calls)

    async def until(self, is_so: Callable[[], Any], patience_s: float = 60.0) -> None:
        async with asyncio.timeout(patience_s):
            try:
                while not is_so():
                    await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                print(*self.said, sep="\n")  # what pytest shows of a test that waited in vain
                raise

    # The HTTP side.

    async def handle(self, request: web.Request) -> web.StreamResponse:
        token, method = request.match_info["token"], request.match_info["method"]
        if token != TOKEN:
            return _answer(Refusal(401, "Unauthorized"))
        parameters, files = await _parse(request)
        self.calls.append((asyncio.get_running_loop().time(), method, parameters))
        trouble = next((t for t in self.troubles if t.method == method and t.times > 0), None)
        if trouble:
            trouble.times -= 1
            if trouble.refusal:
                return _answer(trouble.refusal)
            if not trouble.is_done:
                return _drop(request)
        try:
            result = await self._do(method, parameters, files)
        except Refusal as refusal:
            if not any(words in refusal.description for words in self.forgiven):
                self.wrongs.append(f"{method} {parameters}: {refusal.description}")
            return _answer(refusal)
        return _drop(request) if trouble else web.json_response({"ok": True, "result": result})

    async def file(self, request: web.Request) -> web.StreamResponse:
        found = self._files.get(request.match_info["path"].removeprefix("music/"))
        if request.match_info["token"] != TOKEN or found is None:
            raise web.HTTPNotFound
        trouble = next((t for t in self.troubles if t.method == "file" and t.times > 0), None)
        if trouble:
            trouble.times -= 1
            return _answer(trouble.refusal) if trouble.refusal else _drop(request)
        return web.Response(body=found.data)

    async def _do(self, method: str, parameters: Json, files: dict[str, web.FileField]) -> Any:
        if method not in _PARAMETERS:
            raise Refusal(404, "Not Found")
        if unknown := set(parameters) - _PARAMETERS[method]:
            raise bad(f"this server knows no {unknown} of {method}")
        if parameters.get("chat_id") in self.blocked:
            raise Refusal(403, "Forbidden: bot was blocked by the user")
        if new := self.moved.get(parameters.get("chat_id", 0)):
            raise Refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=new)
        answer = getattr(self, f"_{method}")
        result = answer(parameters, files)
        return await result if asyncio.iscoroutine(result) else result

    def _getMe(self, parameters: Json, files: Json) -> Json:  # noqa: N802
        flags = {"can_join_groups": True, "can_read_all_group_messages": False, "supports_inline_queries": False}
        return BOT | flags

    async def _getUpdates(self, parameters: Json, files: Json) -> list[Json]:  # noqa: N802
        offset = parameters.get("offset", 0)
        wanted = set(parameters["allowed_updates"])
        self._updates = [update for update in self._updates if update["update_id"] >= offset and wanted & set(update)]
        ends = time.monotonic() + min(parameters.get("timeout", 0), 2)
        while not self._updates and (left := ends - time.monotonic()) > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                break
        return self._updates[:100]

    def _deleteWebhook(self, parameters: Json, files: Json) -> bool:  # noqa: N802
        self.webhook = {}
        return True

    def _setWebhook(self, parameters: Json, files: Json) -> bool:  # noqa: N802
        self.webhook = parameters
        return True

    def _setMyCommands(self, parameters: Json, files: Json) -> bool:  # noqa: N802
        for command in parameters["commands"]:
            if not 1 <= len(command["command"]) <= 32 or not 1 <= len(command["description"]) <= 256:
                raise bad("BOT_COMMAND_DESCRIPTION_INVALID")
        self.menus[parameters.get("language_code", "")] = parameters["commands"]
        return True

    def _getFile(self, parameters: Json, files: Json) -> Json:  # noqa: N802
        number = parameters["file_id"]
        found = self._files.get(number)
        if found is None:
            raise bad("wrong file_id or the file is temporarily unavailable")
        path = f"music/{number}"
        if self.is_local:
            on_disk = self.folder / number
            on_disk.write_bytes(found.data)
            path = str(on_disk)
        elif found.size > DOWNLOAD_BYTES:
            raise bad("file is too big")
        return {"file_id": number, "file_unique_id": f"u{number}", "file_size": found.size, "file_path": path}

    def _getChatAdministrators(self, parameters: Json, files: Json) -> list[Json]:  # noqa: N802
        return [{"status": "creator", "is_anonymous": False, "user": self._person(admin)} for admin in self.admins]

    def _sendMessage(self, parameters: Json, files: Json) -> Json:  # noqa: N802
        return self._post(parameters, {"text": _text(parameters["text"])})

    def _editMessageText(self, parameters: Json, files: Json) -> Json:  # noqa: N802
        message = self._own(parameters)
        if "text" not in message:
            raise bad("there is no text in the message to edit")
        change = {"text": _text(parameters["text"])} | _markup(parameters)
        if (change["text"], change.get("reply_markup")) == (message["text"], message.get("reply_markup")):
            raise bad(
                "message is not modified: specified new message content and reply markup are exactly the same as a "
                "current content and reply markup of the message"
            )
        message.pop("reply_markup", None)
        message.update(change)
        self._see(message)
        return message

    def _editMessageCaption(self, parameters: Json, files: Json) -> Json:  # noqa: N802
        message = self._own(parameters)
        if "text" in message:
            raise bad("there is no caption in the message to edit")
        if parameters.get("caption", "") == message.get("caption", ""):
            raise bad("message is not modified: specified new message content and reply markup are exactly the same")
        message["caption"] = _caption(parameters["caption"])
        return message

    def _deleteMessages(self, parameters: Json, files: Json) -> bool:  # noqa: N802
        if not 1 <= len(parameters["message_ids"]) <= 100:
            raise bad("message identifiers are not specified")
        for number in parameters["message_ids"]:
            message = self.messages.get((parameters["chat_id"], number))
            if message is None:
                continue  # Telegram skips those that it does not find
            if message["from"]["id"] != BOT["id"]:
                self.wrongs.append(f"deletes a person's message {message}")
            del self.messages[parameters["chat_id"], number]
        return True

    def _sendAudio(self, parameters: Json, files: dict[str, web.FileField]) -> Json:  # noqa: N802
        details = {key: parameters[key] for key in ("duration", "performer", "title") if key in parameters}
        return self._post_files(parameters, [{"type": "audio", "media": parameters.get("audio")} | details], files)[0]

    def _sendDocument(self, parameters: Json, files: dict[str, web.FileField]) -> Json:  # noqa: N802
        kind = "document" if parameters.get("disable_content_type_detection") else "audio"  # it knows what it hears
        return self._post_files(parameters, [{"type": kind, "media": parameters.get("document")}], files)[0]

    def _sendMediaGroup(self, parameters: Json, files: dict[str, web.FileField]) -> list[Json]:  # noqa: N802
        media = parameters["media"]
        if not 2 <= len(media) <= 10:
            raise bad("there must be from 2 to 10 messages in an album")
        if len({item["type"] for item in media}) != 1:
            raise bad(f"{media[0]['type']} can't be mixed with other media types")
        return self._post_files(parameters, media, files)

    def _sendChatAction(self, parameters: Json, files: Json) -> bool:  # noqa: N802
        if parameters["action"] not in ("typing", "upload_document", "upload_voice"):
            raise bad("wrong parameter action in request")
        return True

    def _answerCallbackQuery(self, parameters: Json, files: Json) -> bool:  # noqa: N802
        if len(parameters.get("text", "")) > 200:
            raise bad("MESSAGE_TOO_LONG")
        self.taps[parameters["callback_query_id"]] = parameters.get("text", "")
        return True

    # Messages and files.

    def _post_files(self, parameters: Json, media: list[Json], files: dict[str, web.FileField]) -> list[Json]:
        brought: dict[str, int] = {}
        contents = []
        for item in media:
            if unknown := set(item) - _MEDIA:
                raise bad(f"this server knows no {unknown} of media")
            _caption(item.get("caption", ""))
            kept = self._take_in(item, files, brought)
            details: Json = {key: item[key] for key in ("title", "performer", "duration") if key in item}
            if item["type"] == "audio":
                known = self._details.get(kept["file_id"], {"duration": 0})
                self._details[kept["file_id"]] = details = known | details
            contents.append({item["type"]: kept | details})
        if brought:
            self.uploads.append(brought)
        album = {"media_group_id": str(next(self._numbers))} if len(media) > 1 else {}
        return [self._post(parameters, content | album) for content in contents]

    def _take_in(self, item: Json, files: dict[str, web.FileField], brought: dict[str, int]) -> Json:
        """A file: uploaded with the call, on this machine, or known by its id."""
        source = item["media"] or ""
        kind: str = item["type"]
        if source.startswith("attach://"):
            part = files.get(source.removeprefix("attach://"))
            if part is None:
                raise bad(f"can't find {source}")
            data, name = part.file.read(), part.filename
        elif source.startswith("file://") and self.is_local:
            path = Path(unquote(urlsplit(source).path))
            data, name = path.read_bytes(), path.name
        else:
            known = self._files.get(source)
            if known is None:
                raise bad("wrong remote file identifier specified: wrong padding in the string")
            if known.kind != kind:
                raise bad(f"type of file mismatch: can't use file of type {known.kind} as {kind}")
            return {"file_id": source, "file_unique_id": f"u{source}", "file_name": known.name, "file_size": known.size}
        if not data:
            raise bad("file must be non-empty")
        if len(data) > (UPLOAD_LOCAL_BYTES if self.is_local else UPLOAD_BYTES):
            raise Refusal(413, "Request Entity Too Large")
        brought[name] = len(data)
        return self._keep(data, name, kind, len(data))

    def _post(self, parameters: Json, body: Json) -> Json:
        chat = parameters["chat_id"]
        if not any(where == chat for where, _ in self.messages):
            raise bad("chat not found")
        reply = parameters.get("reply_parameters")
        if reply:
            answered = self.messages.get((chat, reply["message_id"]))
            if answered is None and not reply.get("allow_sending_without_reply"):
                raise bad("message to be replied not found")
            body |= {"reply_to_message": _without_reply(answered)} if answered else {}
        if thread := parameters.get("message_thread_id"):
            topic = self.messages.get((chat, thread), {})
            if "forum_topic_created" not in topic:
                raise bad("message thread not found")
            body |= _in_topic(topic)
        message = self._store(chat, BOT, body | _markup(parameters))
        self._see(message)
        return message

    def _own(self, parameters: Json) -> Json:
        message = self.messages.get((parameters["chat_id"], parameters["message_id"]))
        if message is None:
            raise bad("message to edit not found")
        if message["from"]["id"] != BOT["id"]:
            raise bad("message can't be edited")
        return message

    def _from_person(self, chat: int, person: int, body: Json, reply: Json | None) -> Json:
        if reply:
            body["reply_to_message"] = _without_reply(reply)
            body |= {"message_thread_id": reply["message_id"]} if chat < 0 and "message_thread_id" not in body else {}
        if (words := body.get("text", "")).startswith("/"):
            body["entities"] = [{"type": "bot_command", "offset": 0, "length": len(words.split()[0])}]
        if person == chat < 0:  # an admin, in the name of the group
            body["sender_chat"], person = _chat(chat), _ANONYMOUS
        message = self._store(chat, self._person(person), body)
        self._push({"message": message})
        return message

    def _person(self, person: int) -> Json:
        about = {"id": person, "is_bot": False, "first_name": f"P{person}"}
        return about | ({"language_code": self.languages[person]} if person in self.languages else {})

    def _store(self, chat: int, sender: Json, body: Json) -> Json:
        count = self._counts.setdefault(min(chat, 0), itertools.count(1))
        number = next(count)
        message = {"message_id": number, "date": int(time.time()), "chat": _chat(chat), "from": sender} | body
        self.messages[chat, number] = message
        return message

    def _push(self, update: Json) -> None:
        # Telegram hands out what is true then, not what becomes of it
        self._updates.append(json.loads(json.dumps({"update_id": next(self._numbers)} | update)))
        self._news.set()

    def _keep(self, data: bytes, name: str, kind: str, size: int) -> Json:
        number = f"F{next(self._numbers)}"
        self._files[number] = Upload(data, name, kind, size)
        named = {"file_name": name} if kind in ("audio", "document", "video") else {}
        return {"file_id": number, "file_unique_id": f"u{number}", "file_size": size} | named

    def _see(self, message: Json) -> None:
        self.said.append((asyncio.get_running_loop().time(), message["chat"]["id"], _shown(message)))


_TEXTS = ("text", "caption", "title", "performer", "callback_query_id", "file_id")
_MEDIA = {"type", "media", "title", "performer", "duration", "caption", "disable_content_type_detection"}


@asynccontextmanager
async def telegram_server(folder: Path, *, is_local: bool = False, port: int = 0) -> AsyncIterator[TelegramServer]:
    """A server at work; at the end it fails if Telegram would have refused anything that nobody asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    server = TelegramServer(folder, is_local=is_local)
    app = web.Application(client_max_size=400_000_000)
    app.router.add_get("/file/bot{token}/{path:.*}", server.file)
    app.router.add_post("/bot{token}/{method}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
    assert not server.wrongs, server.wrongs


def content(message: Json) -> Json:
    """The audio or document of a message."""
    found: Json = message.get("audio") or message["document"]
    return found


def labels(message: Json) -> list[str]:
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [button["text"] for row in rows for button in row]


def _shown(message: Json) -> str:
    text = message.get("text") or f"[{content(message)['file_name']}]"
    return text + (f"\n  ({' · '.join(labels(message))})" if labels(message) else "")


def _chat(chat: int) -> Json:
    if chat < 0:
        return {"id": chat, "type": "supergroup", "title": "class"}
    return {"id": chat, "type": "private", "first_name": f"P{chat}"}


def _in_topic(topic: Json | None) -> Json:
    return {"message_thread_id": topic["message_id"], "is_topic_message": True} if topic else {}


def _without_reply(message: Json) -> Json:
    return {key: value for key, value in message.items() if key != "reply_to_message"}


def _text(text: str) -> str:
    if not text.strip():
        raise bad("message text is empty")
    if len(text.encode("utf-16-le")) // 2 > 4096:
        raise bad("message is too long")
    return text


def _caption(caption: str) -> str:
    if len(caption.encode("utf-16-le")) // 2 > 1024:
        raise bad("message caption is too long")
    return caption


def _markup(parameters: Json) -> Json:
    markup = parameters.get("reply_markup")
    for row in (markup or {}).get("inline_keyboard", []):
        for button in row:
            if not 1 <= len(button["callback_data"].encode()) <= 64:
                raise bad("BUTTON_DATA_INVALID")
            if not button["text"]:
                raise bad("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
    return {"reply_markup": markup} if markup else {}


async def _parse(request: web.Request) -> tuple[Json, dict[str, web.FileField]]:
    """Parameters, decoded from the JSON that objects and numbers come as, and files by the names of their parts.

    A file that is a part under a parameter's own name counts as attached there.
    """
    parameters: Json = {}
    files: dict[str, web.FileField] = {}
    for key, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            files[key] = value
            if key in ("audio", "document"):
                parameters[key] = f"attach://{key}"
        else:
            assert isinstance(value, str)
            parameters[key] = value if key in _TEXTS else _decoded(value)
    if isinstance(chat := parameters.get("chat_id"), str):
        parameters["chat_id"] = int(chat)
    return parameters, files


def _decoded(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _answer(refusal: Refusal) -> web.Response:
    body: Json = {"ok": False, "error_code": refusal.code, "description": refusal.description}
    if refusal.parameters:
        body["parameters"] = refusal.parameters
    return web.json_response(body, status=refusal.code)


def _drop(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
