"""What the service (``refusals``) and the engine say of a song, in the language of its reader. Pure.

It is raised, and stored with the job, in English: so the English sentence is the key. The gaps are ``{named}``.
"""

from __future__ import annotations

import re
from functools import cache

_GERMAN = {
    # Refused before a song is taken.
    "This chat has {n} songs in progress already. Please wait until one of them is done, or cancel one.": (
        "Von diesem Chat sind schon {n} Lieder in Arbeit. Bitte warte, bis eins fertig ist, oder brich eins ab."
    ),
    "You have {n} songs in progress already. Please wait until one of them is done, or cancel one.": (
        "Von dir sind schon {n} Lieder in Arbeit. Bitte warte, bis eins fertig ist, oder brich eins ab."
    ),
    "This chat has a song in progress already. Please wait until it is done, or cancel it.": (
        "Von diesem Chat ist schon ein Lied in Arbeit. Bitte warte, bis es fertig ist, oder brich es ab."
    ),
    "You have a song in progress already. Please wait until it is done, or cancel it.": (
        "Von dir ist schon ein Lied in Arbeit. Bitte warte, bis es fertig ist, oder brich es ab."
    ),
    "That song alone is more than your {n} minutes of audio within 24 hours.": (
        "Dieses Lied allein ist länger als deine {n} Minuten Ton in 24 Stunden."
    ),
    "That song alone is more than this chat's {n} minutes of audio within 24 hours.": (
        "Dieses Lied allein ist länger als die {n} Minuten Ton, die dieser Chat in 24 Stunden hat."
    ),
    "That would be more than your {n} minutes of audio within 24 hours. The first of them are free again in {time}.": (
        "Das wären mehr als deine {n} Minuten Ton in 24 Stunden. Die ersten davon sind in {time} wieder frei."
    ),
    "That would be more than this chat's {n} minutes of audio within 24 hours. "
    "The first of them are free again in {time}.": (
        "Das wären mehr als die {n} Minuten Ton, die dieser Chat in 24 Stunden hat. "
        "Die ersten davon sind in {time} wieder frei."
    ),
    "That file is too large: I take files up to {n} MB. As MP3 or M4A it may fit.": (
        "Diese Datei ist zu groß: Es gehen Dateien bis {n} MB. Als MP3 oder M4A passt sie vielleicht."
    ),
    "That song is too long: I take up to {n} minutes. Please send a shorter part.": (
        "Dieses Lied ist zu lang: Es gehen bis zu {n} Minuten. Bitte sende einen kürzeren Teil."
    ),
    "I am being shut down just now. Please send the song again in a few minutes.": (
        "SpecTacles wird gerade beendet. Bitte sende das Lied in ein paar Minuten noch einmal."
    ),
    # Trouble.
    "There is no room left on my disk. Please try again later, or tell whoever runs me.": (
        "Auf der Festplatte ist kein Platz mehr. Bitte versuch es später wieder, oder wende dich an die Person, die "
        "SpecTacles betreibt."
    ),
    "I cannot write to my disk. Please tell whoever runs me.": (
        "Auf die Festplatte lässt sich nichts schreiben. Bitte wende dich an die Person, die SpecTacles betreibt."
    ),
    "I cannot reach my list of songs just now. Please try again in a minute.": (
        "Die Liste der Lieder ist gerade nicht erreichbar. Bitte versuch es in einer Minute wieder."
    ),
    "The part of me that separates songs does not start. Please try again later, or tell whoever runs me.": (
        "Das Programm, das Lieder zerlegt, startet nicht. Bitte versuch es später wieder, oder wende dich an die "
        "Person, die SpecTacles betreibt."
    ),
    "I could not download that song. Please send it again.": (
        "Das Lied ließ sich nicht herunterladen. Bitte sende es noch einmal."
    ),
    "The stems are ready, but I could not send them. Send the song again: then they come at once.": (
        "Die Spuren sind fertig, ließen sich aber nicht senden. Sende das Lied noch einmal: Dann kommen sie sofort."
    ),
    "Something went wrong in SpecTacles itself. Please send the song again.": (
        "In SpecTacles selbst ging etwas schief. Bitte sende das Lied noch einmal."
    ),
    "Something went wrong in SpecTacles itself.": "In SpecTacles selbst ging etwas schief.",
    "The uploaded file is gone.": "Die hochgeladene Datei ist weg.",
    # What is wrong with a song.
    "Not an audio file.": "Keine Audiodatei.",
    "Not an audio file (a sample rate of {n} Hz).": "Keine Audiodatei (eine Abtastrate von {n} Hz).",
    "Not an audio file (its header promises sound that is not there).": (
        "Keine Audiodatei (ihr Kopf verspricht Ton, der nicht da ist)."
    ),
    "The file is incomplete: its index is missing.": "Die Datei ist unvollständig: Ihr Inhaltsverzeichnis fehlt.",
    "{n} channels, and at most {most} can be mixed to stereo.": (
        "{n} Kanäle; höchstens {most} lassen sich zu Stereo mischen."
    ),
    "No sound in this video.": "In diesem Video ist kein Ton.",
    "No sound in this file.": "In dieser Datei ist kein Ton.",
    "Cannot be read ({reason}).": "Nicht lesbar ({reason}).",
    "Longer than {time}.": "Länger als {time}.",
    "Took longer than {time} to decode.": "Das Lesen der Datei dauerte länger als {time}.",
    "Took too long to decode.": "Das Lesen der Datei dauerte zu lange.",
    "This song brought the separation down twice, and is not tried again.": (
        "An diesem Lied ist das Zerlegen zweimal gescheitert. Es wird nicht noch einmal versucht."
    ),
    # Warnings.
    "the input is silent": "In der Aufnahme ist Stille.",
    "the input is very short ({n} s)": "Die Aufnahme ist sehr kurz ({n} s).",
    "the input is mono": "Die Aufnahme ist mono.",
    "left and right are out of phase: in mono nothing would be heard": (
        "Links und rechts sind gegenphasig: In Mono wäre nichts zu hören."
    ),
    "the input has sound in one channel only": "Die Aufnahme hat nur auf einem Kanal Ton.",
    "the input passes full scale by {n} dB; the stems are turned down where it does": (
        "Die Aufnahme ist um bis zu {n} dB lauter als Vollaussteuerung; an diesen Stellen sind die Spuren leiser."
    ),
    "the input has nothing above {n} kHz, like a voice note or a call": (
        "In der Aufnahme ist nichts über {n} kHz, wie bei Sprachnachrichten und Anrufen."
    ),
    "the input is clipped in places": "Die Aufnahme ist stellenweise übersteuert.",
    "the file ends early; separated as far as it goes": "Die Datei bricht ab; zerlegt wurde, was da ist.",
    "parts of the file are damaged and were left out": "Teile der Datei sind beschädigt und wurden ausgelassen.",
    "{n} samples were not numbers and became silence": "{n} Abtastwerte waren keine Zahlen und wurden zu Stille.",
    # Times, in the gaps above.
    "less than a minute": "weniger als einer Minute",
    "1 minute": "einer Minute",
    "{n} minutes": "{n} Minuten",
    "{n} seconds": "{n} Sekunden",
    "{n} hours": "{n} Stunden",
}
_IN = {"de": _GERMAN}


def translated(text: str, language: str) -> str:
    """``text``, if it is a sentence known here; else as it is."""
    for pattern, template in _patterns(language):
        if found := pattern.fullmatch(text):
            return template.format(**{gap: _gap(value, language) for gap, value in found.groupdict().items()})
    return text


def _gap(value: str, language: str) -> str:
    is_number = re.fullmatch(r"\d+\.\d+", value)
    return value.replace(".", ",") if is_number else translated(value, language)


@cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    return [(_pattern(english), other) for english, other in _IN.get(language, {}).items()]


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(english)))
