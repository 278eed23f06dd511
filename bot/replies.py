"""The sentences that people read on Telegram and Discord. Pure: values and a language in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from bot.jobs import Forgotten, Job, Standing, State
from bot.names import one_line, song_title
from bot.quality_note import clock, quality_note
from bot.refusals import as_sentence, duration, mistake_of_ours
from bot.translation import said, translated
from bot.words import sentence
from spectacles_engine.messages import STEMS, QualityNote

_MOST_OF_A_LIST = 1200
"""Characters. A Discord message takes 2000, with a backslash before each sign that is markup there."""


# What becomes of a song: one message that counts up, then the stems and a note.


def status(standing: Standing, language: str) -> str:
    """Where a job stands, in one line."""
    job, place = standing.job, standing.position
    song = song_title(job.order.title)
    match job.state:
        case State.PREPARING:
            told = "{song}: place {n} in the queue; I am listening to it." if place else "{song}: I am listening to it."
        case State.QUEUED:
            told = "{song}: place {n} in the queue{time}." if place else "{song}: in the queue{time}."
        case State.RUNNING:
            told = "{song}: separating, {percent} %{time}."
        case State.DELIVERING:
            told = "{song}: the stems are on their way."
        case State.DONE:
            told = "{song}: done."
        case State.CANCELLED:
            told = "{song}: cancelled."
        case State.FAILED:
            return f"{song}: {translated(as_sentence(job.error or mistake_of_ours()), language)}"
    percent, time = f"{100 * standing.share:.0f}", _time_left(standing.eta_s, language)
    return said(told, language, song=song, n=place, percent=percent, time=time)


def stem_title(title: str, name: str) -> str:
    """``Song – vocals``."""
    return f"{one_line(title)} – {name}"


def _time_left(eta_s: float | None, language: str) -> str:
    if eta_s is None:
        return ""
    time = translated(duration(eta_s), language)
    return said(", {time} to go" if eta_s < 60 else ", about {time} to go", language, time=time)


def _listed(items: Sequence[str], between: str, language: str) -> str:
    """As many as a message takes, and how many more there are."""
    shown = list(items)
    while len(between.join(shown)) > _MOST_OF_A_LIST:
        shown.pop()
    more = len(items) - len(shown)
    return between.join([*shown, said("and {n} more", language, n=more)] if more else shown)


def result_note(
    title: str, seconds: float, note: QualityNote, warnings: Sequence[str], most: int, language: str
) -> str:
    """What goes with the stems, within ``most`` characters: whole sentences are left out at the end."""
    noted = (said("Note: {warning}.", language, warning=translated(warning, language)) for warning in warnings)
    text = f"{song_title(title)} ({clock(seconds)})"
    for line in filter(None, (quality_note(note, language), *noted)):
        if len(text) + 1 + len(line) <= most:
            text += f"\n{line}"
    return text


def smaller_format(format: str, bitrate_kbps: int | None, most_bytes: int, language: str) -> str:
    """Stems in another format or bitrate than was asked for."""
    name = format.upper()
    if bitrate_kbps:
        name = said("{format} at {n} kbit/s", language, format=name, n=bitrate_kbps)
    megabytes = f"{most_bytes / 1e6:.0f}"
    return said("Sent as {format}, because files may have at most {n} MB here.", language, format=name, n=megabytes)


def perhaps_sent(language: str) -> str:
    """The answer was lost, and nobody can tell whether the stems arrived."""
    return said(
        "I could not see whether the stems arrived. If they are missing, reply to this message with /stems.", language
    )


BUTTONS = (*STEMS, "karaoke", "flac")
"""What can be asked for under a result."""


def button(action: str, language: str) -> str:
    """How one of ``BUTTONS``, ``cancel`` or ``delete`` is called."""
    if action in STEMS:
        return sentence(f"stem.{action}", language)
    return "FLAC" if action == "flac" else said(action.capitalize(), language)


# Answers to commands.


def accepted(language: str) -> str:
    """Where an answer must be given at once, and the status message follows."""
    return said("I have it. The stems come here as soon as they are ready.", language)


def some_refused(titles: Sequence[str], sentence: str, language: str) -> str:
    """Those songs of a message to which ``sentence`` applies."""
    return f"{_listed([song_title(title) for title in titles], ', ', language)}: {sentence}"


def queue(standings: Sequence[Standing], language: str) -> str:
    """``/queue``: every unfinished job of whoever asks."""
    lines = [status(standing, language) for standing in standings]
    return _listed(lines, "\n", language) or said("You have no song in progress here.", language)


def cancelled(jobs: Sequence[Job], language: str) -> str:
    """``/cancel``."""
    if not jobs:
        return said("You have no song in progress here.", language)
    songs = _listed([song_title(job.order.title) for job in jobs], ", ", language)
    return said("Cancelled: {songs}.", language, songs=songs)


def too_late(job: Job, language: str) -> str:
    """``/cancel`` of one song, which is over."""
    return said("There is nothing left to cancel. {status}", language, status=status(Standing(job), language))


def forgotten(what: Forgotten, language: str) -> str:
    """``/forget``."""
    if not what.songs:
        return said("There is nothing stored.", language)
    songs = said("1 song" if what.songs == 1 else "{n} songs", language, n=what.songs)
    if not what.results:
        return said("Deleted: {songs}.", language, songs=songs)
    stems = said("the stems of {n}" if what.results < what.songs else "all stems", language, n=what.results)
    size = said("{n} MB" if what.megabytes >= 1 else "less than 1 MB", language, n=f"{what.megabytes:.0f}")
    return said("Deleted: {songs}, and {stems} ({size}).", language, songs=songs, stems=stems, size=size)


def for_admins(language: str) -> str:
    """``/forget chat`` by somebody else."""
    return said("Only an admin of this group can do that. /forget deletes what is yours.", language)


def for_moderators(language: str) -> str:
    """The same, on Discord."""
    return said("Only somebody who may manage messages here can do that. /forget deletes what is yours.", language)


_FIRST = "Send me a song, a voice note or a video, and I send back its vocals, drums, bass and the rest as four files."
_FIRST_IN_GROUPS = "Reply with /stems to a song, and I send back its vocals, drums, bass and the rest as four files."
_WISHES = (
    "Only some: /vocals, /drums, /bass, /other, /karaoke, or /stems vocals drums, as a reply to the song.",
    "Another format: add mp3, flac or wav, as in /vocals flac.",
)
_FIRST_ON_DISCORD = (
    "/separate takes a song, voice note or video, and I send its vocals, drums, bass and the rest as files.",
    "A song that is here already: right-click or hold it, Apps › Separate stems. Or send me one privately.",
    "Only some: /vocals, /drums, /bass, /other, /karaoke, /stems, also of your last song. All take a format.",
)
_LAST_OF_HELP = (
    "/queue shows where your songs stand, and /cancel stops them.",
    "/privacy says what is kept, and /forget deletes what is yours.",
)


def help_text(language: str, *, in_group: bool = False) -> str:
    """Five lines."""
    return _lines((_FIRST_IN_GROUPS if in_group else _FIRST, *_WISHES, *_LAST_OF_HELP), language)


def help_on_discord(language: str) -> str:
    """Five lines: there, commands have options, and the menu of a message takes the place of a reply."""
    return _lines((*_FIRST_ON_DISCORD, *_LAST_OF_HELP), language)


def _lines(sentences: Sequence[str], language: str) -> str:
    return "\n".join(said(sentence, language) for sentence in sentences)


def welcome(help: str, language: str) -> str:
    """``/start``."""
    return f"{said('Hello! I take songs apart.', language)}\n{help}"


_FORGET = "/forget deletes everything of yours at once, and /forget chat, by an admin, everything of a group."
_FORGET_ON_DISCORD = (
    "/forget deletes everything of yours at once, and /forget chat:True, by somebody who may manage messages, "
    "everything of this channel."
)


def privacy(keep_hours: float, language: str, *, on_discord: bool = False) -> str:
    """``/privacy``."""
    kept = duration(keep_hours * 3600) if keep_hours < 48 else f"{keep_hours / 24:g} days"
    stored = said(
        "Songs are separated on the computer that runs this bot, and sent nowhere else. A song is deleted as soon as "
        "it is separated; its stems, its title and who sent it stay for {time}, so that you can ask again.",
        language,
        time=translated(kept, language),
    )
    deleted = said(_FORGET_ON_DISCORD if on_discord else _FORGET, language)
    stays = said(
        "Two things stay: stems that somebody else asked for as well, and, for a day, a count of your minutes, for the "
        "daily limit. The messages in this chat stay until you delete them.",
        language,
    )
    return f"{stored}\n{deleted} {stays}"


def no_song(language: str) -> str:
    """A command that is a reply to nothing that can be separated."""
    return said("Which song? Reply to it with this command, or send it with the command as its caption.", language)


def no_song_on_discord(language: str) -> str:
    """A command without a song, by somebody who handed none in there."""
    return said("Which song? Add it to the command as its attachment, or tap a button under its stems.", language)


def nothing_to_hear(language: str) -> str:
    """A message that holds no file which could be a song."""
    return said("There is no audio or video in that message.", language)


def not_yours(language: str) -> str:
    """A tap on somebody else's button."""
    return said("Only the person who asked for this can do that.", language)


def no_longer_stored(language: str) -> str:
    """A button under a result that has gone."""
    return said("That song is no longer stored. Please send it again.", language)


def nothing_to_delete(language: str) -> str:
    """The button that deletes, under a result that has gone."""
    return said(
        "Nothing of that song is stored any more. Its messages can be deleted by hand, by whoever may do that here.",
        language,
    )


def deleted(language: str) -> str:
    """The button under a result did its work."""
    return said("Deleted.", language)
