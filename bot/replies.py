"""The sentences that people read. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from bot.jobs import Forgotten, Job, Standing, State
from bot.names import one_line
from bot.quality_note import clock, quality_note
from bot.refusals import as_sentence, duration, mistake_of_ours
from spectacles_engine.messages import FORMATS, MIXES, STEMS, QualityNote

_MOST_OF_A_LIST = 1200
"""Characters. A Discord message takes 2000, with a backslash before each sign that is markup there."""


# What becomes of a song: one message that counts up, then the stems and a note.


def status(standing: Standing) -> str:
    """Where a job stands, in one line."""
    title, job = song_title(standing.job.order.title), standing.job
    place = f"place {standing.position} in the queue" if standing.position else "in the queue"
    match job.state:
        case State.PREPARING:
            return f"{title}: {f'{place}; ' if standing.position else ''}I am listening to it."
        case State.QUEUED:
            return f"{title}: {place}{_about(standing.eta_s)}."
        case State.RUNNING:
            return f"{title}: separating, {100 * standing.share:.0f} %{_about(standing.eta_s)}."
        case State.DELIVERING:
            return f"{title}: the stems are on their way."
        case State.DONE:
            return f"{title}: done."
        case State.CANCELLED:
            return f"{title}: cancelled."
    return f"{title}: {as_sentence(job.error or mistake_of_ours())}"


def song_title(title: str) -> str:
    """A title on one line, at most 60 characters."""
    line = one_line(title)
    return line if len(line) <= 60 else f"{line[:59].rstrip()}…"


def stem_title(title: str, name: str) -> str:
    """``Song – vocals``."""
    return f"{one_line(title)} – {name}"


def _about(eta_s: float | None) -> str:
    if eta_s is None:
        return ""
    return f", {duration(eta_s)} to go" if eta_s < 60 else f", about {duration(eta_s)} to go"


def _listed(items: Sequence[str], between: str) -> str:
    """As many as a message takes, and how many more there are."""
    shown = list(items)
    while len(between.join(shown)) > _MOST_OF_A_LIST:
        shown.pop()
    more = len(items) - len(shown)
    return between.join([*shown, f"and {more} more"] if more else shown)


def result_note(title: str, seconds: float, note: QualityNote, warnings: Sequence[str], most: int) -> str:
    """What goes with the stems, within ``most`` characters: whole sentences are left out at the end."""
    about = [quality_note(note), *(f"Note: {warning}." for warning in warnings)]
    text = f"{song_title(title)} ({clock(seconds)})"
    for line in filter(None, about):
        if len(text) + 1 + len(line) <= most:
            text += f"\n{line}"
    return text


def smaller_format(format: str, bitrate_kbps: int | None, most_bytes: int) -> str:
    """Stems in another format or bitrate than was asked for."""
    rate = f" at {bitrate_kbps} kbit/s" if bitrate_kbps else ""
    return f"Sent as {format.upper()}{rate}, because files may have at most {most_bytes / 1e6:.0f} MB here."


def perhaps_sent() -> str:
    """The answer was lost, and nobody can tell whether the stems arrived."""
    return "I could not see whether the stems arrived. If they are missing, reply to this message with /stems."


def too_large_to_send(most_bytes: int) -> str:
    """Not even the lowest rung of the ladder fits."""
    return (
        f"the stems are too large for this chat, which takes files up to {most_bytes / 1e6:.0f} MB; send a shorter part"
    )


def cannot_write_here() -> str:
    """The bot lacks a permission in a channel."""
    return "I may not send files here. Ask an admin to allow it, or send me the song in a private message."


BUTTONS = (*((stem, stem.capitalize()) for stem in STEMS), ("karaoke", "Karaoke"), ("flac", "FLAC"))
"""What can be asked for under a result, and how the buttons are called."""
CANCEL_BUTTON, DELETE_BUTTON = "Cancel", "Delete"


# Answers to commands.


def accepted() -> str:
    """Where an answer must be given at once, and the status message follows."""
    return "I have it. The stems come here as soon as they are ready."


def some_refused(titles: Sequence[str], sentence: str) -> str:
    """Those songs of a message to which ``sentence`` applies."""
    return f"{_listed([song_title(title) for title in titles], ', ')}: {sentence}"


def queue(standings: Sequence[Standing]) -> str:
    """``/queue``: every unfinished job of whoever asks."""
    return _listed([status(standing) for standing in standings], "\n") or "You have no song in progress here."


def cancelled(jobs: Sequence[Job]) -> str:
    """``/cancel``."""
    if not jobs:
        return "You have no song in progress here."
    return f"Cancelled: {_listed([song_title(job.order.title) for job in jobs], ', ')}."


def too_late(job: Job) -> str:
    """``/cancel`` of one song, which is over."""
    return f"There is nothing left to cancel. {status(Standing(job))}"


def forgotten(what: Forgotten) -> str:
    """``/forget``."""
    if not what.songs:
        return "There is nothing stored."
    songs = "1 song" if what.songs == 1 else f"{what.songs} songs"
    if not what.results:
        return f"Deleted: {songs}."
    stems = f"the stems of {what.results}" if what.results < what.songs else "all stems"
    size = f"{what.megabytes:.0f} MB" if what.megabytes >= 1 else "less than 1 MB"
    return f"Deleted: {songs}, and {stems} ({size})."


def for_admins() -> str:
    """``/forget chat`` by somebody else."""
    return "Only an admin of this group can do that. /forget deletes what is yours."


def help_text(*, in_group: bool = False) -> str:
    """Five lines."""
    first = "Reply with /stems to a song" if in_group else "Send me a song, a voice note or a video"
    return "\n".join(
        (
            f"{first}, and I send back its vocals, drums, bass and the rest as four files.",
            "Only some: /vocals, /drums, /bass, /other, /karaoke, or /stems vocals drums, as a reply to the song.",
            "Another format: add mp3, flac or wav, as in /vocals flac.",
            "/queue shows where your songs stand, and /cancel stops them.",
            "/privacy says what is kept, and /forget deletes what is yours.",
        )
    )


def help_on_discord() -> str:
    """Five lines: there, commands have options, and the menu of a message takes the place of a reply."""
    return "\n".join(
        (
            "/separate takes a song, voice note or video, and I send its vocals, drums, bass and the rest as files.",
            "A song that is here already: right-click or hold it, Apps › Separate stems. Or send me one privately.",
            "Only some: /vocals, /drums, /bass, /other, /karaoke, /stems, also of your last song. All take a format.",
            "/queue shows where your songs stand, and /cancel stops them.",
            "/privacy says what is kept, and /forget deletes what is yours.",
        )
    )


def welcome(help: str) -> str:
    """``/start``."""
    return f"Hello! I take songs apart.\n{help}"


def privacy(keep_hours: float, forget_chat: str = "/forget chat") -> str:
    """``/privacy``. ``forget_chat``: how one has all of a group forgotten."""
    kept = duration(keep_hours * 3600) if keep_hours < 48 else f"{keep_hours / 24:g} days"
    return (
        "Songs are separated on the computer that runs this bot, and sent nowhere else. A song is deleted as soon as "
        f"it is separated; its stems, its title and who sent it stay for {kept}, so that you can ask again.\n"
        f"/forget deletes all of yours at once, and {forget_chat}, by an admin, all of a group. Two things stay: stems "
        "that somebody else asked for as well, and, for a day, a count of your minutes, for the daily limit. The "
        "messages in this chat stay until you delete them."
    )


def no_song() -> str:
    """A command that is a reply to nothing that can be separated."""
    return "Which song? Reply to it with this command, or send it with the command as its caption."


def no_song_on_discord() -> str:
    """A command without a song, by somebody who handed none in there."""
    return "Which song? Add it to the command as its attachment, or tap a button under its stems."


def nothing_to_hear() -> str:
    """A message that holds no file which could be a song."""
    return "There is no audio or video in that message."


def stems_already() -> str:
    """A result of ours that was forwarded, or that the menu of a message is used on."""
    return "These are stems already. The buttons under my message with them give you others of the same song."


def unknown_word(word: str) -> str:
    """A word of ``/stems`` that means nothing here."""
    formats, mixes = ", ".join(FORMATS), ", ".join(MIXES)
    return (
        f"I don't know “{song_title(word)}”. Stems: {', '.join(STEMS)} (guitars, keys and the rest). "
        f"Mixes: {mixes}. Formats: {formats}."
    )


def one_at_a_time(what: str) -> str:
    """Two mixes or two formats at once."""
    return f"One {what} at a time, please."


def not_yours() -> str:
    """A tap on somebody else's button."""
    return "Only the person who asked for this can do that."


def no_longer_stored() -> str:
    """A button under a result that has gone."""
    return "That song is no longer stored. Please send it again."


def deleted() -> str:
    """The button under a result did its work."""
    return "Deleted."


def song_gone() -> str:
    """The platform no longer has the file."""
    return "That file can no longer be downloaded. Please send it again."


def too_large_to_download(most_mb: float) -> str:
    """Telegram gives bots files up to 20 MB only."""
    return (
        f"Telegram lets bots download files up to {most_mb:g} MB, and this one is larger. Send it as MP3 or M4A, or a "
        "shorter part. (Whoever runs this bot can lift the limit with a local Bot API server.)"
    )
