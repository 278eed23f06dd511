"""What a person hands in on Telegram → orders. Pure."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePath

from telegram import (
    Audio,
    CallbackQuery,
    Document,
    ExternalReplyInfo,
    MaybeInaccessibleMessage,
    Message,
    MessageOriginUser,
    Update,
    Video,
    VideoNote,
    Voice,
)

from bot.jobs import Order, Place, Reference, Wish
from bot.names import one_line
from bot.requests import without_links
from bot.translation import said
from bot.words import known_language

PLATFORM = "telegram"

Song = Audio | Document | Video | VideoNote | Voice

_SUFFIXES = frozenset(
    "." + name
    for name in (
        *("3g2", "3ga", "3gp", "aac", "ac3", "aif", "aifc", "aiff", "alac", "amr", "ape", "asf", "au", "avi", "awb"),
        *("bwf", "caf", "eac3", "ec3", "f4v", "flac", "flv", "m2t", "m2ts", "m4a", "m4b", "m4r", "m4v", "mka", "mkv"),
        *("mov", "mp2", "mp3", "mp4", "mpa", "mpeg", "mpg", "mpga", "mts", "oga", "ogg", "ogv", "opus", "qta", "snd"),
        *("spx", "ts", "tta", "vob", "voc", "w64", "wav", "wave", "weba", "webm", "wma", "wmv", "wv"),
    )
)


def song_in(message: Message | ExternalReplyInfo) -> Song | None:
    """What there is to hear in a message, its own or one that it quotes from another chat."""
    if getattr(message, "animation", None):
        return None  # has no sound, and comes as a document as well
    found = message.audio or message.voice or message.video_note or message.video
    document = message.document
    return found or (document if document and _is_audible(document) else None)


def quoted_by(message: Message) -> Message | ExternalReplyInfo | None:
    """What a message is a reply to. In a topic Telegram makes one to the topic's beginning of all that is none."""
    reply = message.reply_to_message
    return message.external_reply if reply is None or reply.forum_topic_created else reply


def was_sent_by(author: int, message: Message | ExternalReplyInfo) -> bool:
    """Whether a message was forwarded, or is quoted, from a chat where ``author`` wrote it."""
    origin = message.forward_origin if isinstance(message, Message) else message.origin
    return isinstance(origin, MessageOriginUser) and origin.sender_user.id == author


def text_of(message: Message) -> str:
    """What somebody wrote, by itself or beside a file; beside a song, a link only tells where it is from."""
    words = message.text or message.caption or ""
    return without_links(words) if song_in(message) else words


def place_of(update: Update) -> Place:
    """Who speaks, and where; raises ValueError for an update that nobody sent."""
    chat, sender = update.effective_chat, update.effective_sender
    if chat is None or sender is None:
        raise ValueError("an update without a chat or a sender")
    return Place(PLATFORM, str(chat.id), str(sender.id))


def language_of(said: Message | CallbackQuery) -> str:
    """The language of who wrote or tapped; nobody knows that of who writes in the name of a chat."""
    person = said.from_user
    return known_language(person.language_code if person else None)


def order(place: Place, wish: Wish, song: Song, *, answers: Message) -> Order:
    """``answers``: the message that asked, which need not be the one with the song."""
    performer = song.performer if isinstance(song, Audio) else None
    language = language_of(answers)
    return Order(
        place=place,
        wish=wish,
        source={"file": song.file_id},
        title=_title(song, language),
        performer=one_line(performer or "") or None,
        source_key=song.file_unique_id,
        size_bytes=song.file_size,
        seconds=_seconds(song),
        answers=answers_to(answers),
        language=language,
    )


def answers_to(message: MaybeInaccessibleMessage) -> Reference:
    """What an answer to ``message`` needs to know."""
    thread = message.message_thread_id if isinstance(message, Message) and message.is_topic_message else None
    return {"message": message.message_id} | ({"thread": thread} if thread else {})


def _is_audible(document: Document) -> bool:
    kind = document.mime_type or ""
    return kind.startswith(("audio/", "video/")) or PurePath(document.file_name or "").suffix.lower() in _SUFFIXES


def _seconds(song: Song) -> float | None:
    return None if isinstance(song, Document) else seconds_of(song.duration)


def seconds_of(length: float | timedelta) -> float:
    """The library has timedeltas, unless somebody's environment says otherwise."""
    return length.total_seconds() if isinstance(length, timedelta) else float(length)


def _title(song: Song, language: str) -> str:
    """By its tags, else by its file's name; a message with a voice has neither."""
    if isinstance(song, Voice):
        return said("voice message", language)
    if isinstance(song, VideoNote):
        return said("video message", language)
    tagged = one_line(song.title or "") if isinstance(song, Audio) else ""
    named = one_line(PurePath(song.file_name or "").stem)
    return tagged or named or said("video" if isinstance(song, Video) else "song", language)
