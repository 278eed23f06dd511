"""What the service says of a song that it refuses, or that failed: whole sentences, and the way out if there is one.

Pure. They are raised, and stored with the job, in English; ``translation`` must know them.
"""

from __future__ import annotations

from bot.names import song_title
from spectacles_engine.messages import FORMATS, MIXES, STEMS


def as_sentence(text: str) -> str:
    """``not an audio file`` → ``Not an audio file.``"""
    return text if text.endswith((".", "!", "?")) else f"{text[:1].upper()}{text[1:]}."


def duration(seconds: float) -> str:
    """``40`` → ``less than a minute``, ``150`` → ``3 minutes``, ``5400`` → ``1.5 hours``."""
    if seconds < 60:
        return "less than a minute"
    if seconds < 5400:
        minutes = -(-seconds // 60)
        return "1 minute" if minutes == 1 else f"{minutes:.0f} minutes"
    return f"{seconds / 3600:.1f}".removesuffix(".0") + " hours"


def chat_not_allowed() -> str:
    """To a chat that is not on the allow-list."""
    return "This chat is not on the list of chats that I work for."


def bot_is_stopping() -> str:
    """To an order that comes while the bot ends."""
    return "I am being shut down just now. Please send the song again in a few minutes."


def file_too_large(most_mb: float) -> str:
    """A file beyond ``limits.largest_file_mb``."""
    return f"That file is too large: I take files up to {most_mb:g} MB. As MP3 or M4A it may fit."


def song_too_long(most_minutes: float) -> str:
    """A song beyond ``limits.longest_song_minutes``."""
    return f"That song is too long: I take up to {most_minutes:g} minutes. Please send a shorter part."


def too_many_waiting(songs: int, *, whole_chat: bool) -> str:
    """``songs``: how many unfinished jobs a person or a chat has, which are as many as they may have."""
    whose = "This chat has" if whole_chat else "You have"
    if songs == 1:
        return f"{whose} a song in progress already. Please wait until it is done, or cancel it."
    return f"{whose} {songs} songs in progress already. Please wait until one of them is done, or cancel one."


def minutes_used_up(most_minutes: float, free_in_s: float | None, *, whole_chat: bool) -> str:
    """``free_in_s``: seconds until the first of the minutes count no more; None if that would not help."""
    whose = "this chat's" if whole_chat else "your"
    if free_in_s is None:
        return f"That song alone is more than {whose} {most_minutes:g} minutes of audio within 24 hours."
    return (
        f"That would be more than {whose} {most_minutes:g} minutes of audio within 24 hours. "
        f"The first of them are free again in {duration(free_in_s)}."
    )


def disk_full() -> str:
    """No room, after all results that could go have gone."""
    return "There is no room left on my disk. Please try again later, or tell whoever runs me."


def disk_in_trouble() -> str:
    """A folder that cannot be written."""
    return "I cannot write to my disk. Please tell whoever runs me."


def store_in_trouble() -> str:
    """The database is locked, damaged or full."""
    return "I cannot reach my list of songs just now. Please try again in a minute."


def engine_in_trouble() -> str:
    """No engine can be started."""
    return "The part of me that separates songs does not start. Please try again later, or tell whoever runs me."


def fetch_failed() -> str:
    """The platform gave the song in no way that we know of."""
    return "I could not download that song. Please send it again."


def song_gone() -> str:
    """The platform no longer has the file."""
    return "That file can no longer be downloaded. Please send it again."


def local_server_unreadable() -> str:
    """A Bot API server of one's own stores songs where the bot cannot read them."""
    return "I cannot read the files of my Telegram server. Please tell whoever runs me."


def too_large_to_download() -> str:
    """Telegram gives bots files up to 20 MB only."""
    return (
        "Telegram lets bots download files up to 20 MB, and this one is larger. Send it as MP3 or M4A, or a "
        "shorter part. (Whoever runs this bot can lift the limit with a local Bot API server.)"
    )


def stems_already() -> str:
    """A result of ours that was forwarded, or that the menu of a message is used on."""
    return "These are stems already. The buttons under the message that they came with give you the song's other stems."


def unknown_word(word: str) -> str:
    """A word of ``/stems`` that means nothing here."""
    stems, mixes, formats = (", ".join(names) for names in (STEMS, MIXES, FORMATS))
    return (
        f"I don't know “{song_title(word)}”. Stems: {stems} (guitars, keys and the rest). Mixes: {mixes}. "
        f"Formats: {formats}."
    )


def no_links() -> str:
    """An address in place of a song, or beside one."""
    return "I take files, not links. Please send the song itself."


def one_at_a_time(what: str) -> str:
    """Two mixes or two formats at once."""
    return f"One {what} at a time, please."


def upload_gone() -> str:
    """What was sent to the web chat is no longer on the disk."""
    return "The uploaded file is gone."


def delivery_failed() -> str:
    """The platform did not take the stems, and did not say why."""
    return "The stems are ready, but I could not send them. Send the song again: then they come at once."


def too_large_to_send(most_bytes: int) -> str:
    """Not even the lowest rung of the ladder fits."""
    megabytes = f"{most_bytes / 1e6:.0f}"
    return f"The stems are too large for this chat, which takes files up to {megabytes} MB. Send a shorter part."


def cannot_write_here() -> str:
    """The bot lacks a permission in a channel."""
    return "I am not allowed to send files here. Ask an admin to allow it, or send me the song in a private message."


def admins_unknown() -> str:
    """Telegram refuses to name a group's admins."""
    return "Telegram does not tell me who is an admin here. Make me an admin, or try again later."


def mistake_of_ours() -> str:
    """An error that nobody expected; a log has the rest."""
    return "Something went wrong in SpecTacles itself. Please send the song again."
