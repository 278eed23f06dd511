"""The catalogue of the page and the quality note: what is said in more than one language, under one key each.

The gaps are ``{named}``.
"""

from __future__ import annotations

ENGLISH = "en"
LANGUAGES = (ENGLISH, "de")

_WORDS: dict[str, tuple[str, str]] = {
    "stem.vocals": ("Vocals", "Gesang"),
    "stem.drums": ("Drums", "Schlagzeug"),
    "stem.bass": ("Bass", "Bass"),
    "stem.other": ("Other", "Sonstiges"),
    "grade.good": ("good", "gut"),
    "grade.fair": ("fair", "mittel"),
    "grade.poor": ("poor", "schwach"),
    "grade.silent": ("silent", "still"),
    "grade.unknown": ("no estimate", "keine Schätzung"),
    "note.unknown": (
        "How good this is could not be estimated.",
        "Wie gut das ist, ließ sich nicht schätzen.",
    ),
    "note.silent": ("Silent: {names}.", "Still: {names}."),
    "note.estimated": (
        "Estimated quality (dB SDR, 80 % range): {grades}.",
        "Geschätzte Qualität (dB SDR, 80-%-Bereich): {grades}.",
    ),
    "note.no_estimate": ("{stem}: no estimate", "{stem}: keine Schätzung"),
    "note.to": ("to", "bis"),
    "note.weakest": ("Weakest: {passages}.", "Am schwächsten: {passages}."),
    "note.passage": ("{stem} at {start}–{end}", "{stem} bei {start}–{end}"),
    "note.residual": (
        "Part of the song is in none of the stems ({db} dB).",
        "Ein Teil des Liedes ist in keiner Spur ({db} dB).",
    ),
    "page.headline": ("Take a song apart", "Ein Lied in seine Teile zerlegen"),
    "page.invitation": (
        "Send a song, and get vocals, drums, bass and the rest as four tracks to listen to, mix and keep.",
        "Sende ein Lied: Gesang, Schlagzeug, Bass und der Rest kommen als vier Spuren zurück, "
        "zum Hören, Mischen und Behalten.",
    ),
    "page.send_a_song": ("Send a song", "Ein Lied senden"),
    "page.choose": ("Choose songs", "Lieder auswählen"),
    "page.or_drop": ("or drop them here", "oder hier ablegen"),
    "page.record": ("Record", "Aufnehmen"),
    "page.stop_recording": ("Stop and separate", "Beenden und zerlegen"),
    "page.recording_of": ("Recording {time}", "Aufnahme {time}"),
    "page.no_microphone": (
        "There is no microphone, or the browser may not use it.",
        "Es gibt kein Mikrofon, oder der Browser darf es nicht benutzen.",
    ),
    "page.your_songs": ("Your songs", "Deine Lieder"),
    "page.sending": ("Sending: {percent} %", "Wird gesendet: {percent} %"),
    "page.waits": ("Waits for its turn", "Wartet, bis es an der Reihe ist"),
    "page.send_again": ("Send again", "Noch einmal senden"),
    "page.looking": ("Looking at the song", "Das Lied wird angesehen"),
    "page.place": ("Place {n} in the queue", "Platz {n} in der Warteschlange"),
    "page.separating": ("Separating: {percent} %", "Wird zerlegt: {percent} %"),
    "page.less_than_a_minute": ("less than a minute left", "weniger als eine Minute"),
    "page.about_minutes": ("about {n} min left", "noch etwa {n} min"),
    "page.cancelled": ("Cancelled.", "Abgebrochen."),
    "page.done": ("The stems of {song} are ready.", "Die Spuren von {song} sind fertig."),
    "page.gone": ("The stems of this song were deleted.", "Die Spuren dieses Liedes wurden gelöscht."),
    "page.progress_of": ("Progress of {song}", "Fortschritt von {song}"),
    "page.cancel_song": ("Cancel {song}", "{song} abbrechen"),
    "page.forget_song": ("Forget {song}", "{song} vergessen"),
    "page.forget_question": ("Delete {song} and its stems?", "{song} und seine Spuren löschen?"),
    "page.forget": ("Delete", "Löschen"),
    "page.forget_all": ("Forget all my songs", "Alle meine Lieder vergessen"),
    "page.forget_all_question": (
        "Delete all your songs and their stems, and cancel what is still in progress?",
        "Alle deine Lieder und ihre Spuren löschen und abbrechen, was noch in Arbeit ist?",
    ),
    "page.forgotten": ("Songs deleted: {songs} ({megabytes} MB).", "Gelöschte Lieder: {songs} ({megabytes} MB)."),
    "page.keep": ("Keep", "Behalten"),
    "page.close": ("Close", "Schließen"),
    "page.too_large": (
        "{song} is larger than {megabytes} MB.",
        "{song} ist größer als {megabytes} MB.",
    ),
    "page.unreadable": (
        "This is a folder, or a file that cannot be read.",
        "Das ist ein Ordner, oder eine Datei, die sich nicht lesen lässt.",
    ),
    "page.no_server": (
        "SpecTacles does not answer. Is it still running?",
        "SpecTacles antwortet nicht. Läuft es noch?",
    ),
    "page.proxy_takes_less": (
        "A server on the way takes no file as large as this.",
        "Ein Server auf dem Weg nimmt keine so große Datei.",
    ),
    "page.no_cookies": (
        "This browser keeps no cookie for this page: your songs would not be found again. Allow cookies, and reload.",
        "Dieser Browser behält kein Cookie dieser Seite: Deine Lieder wären nicht wiederzufinden. "
        "Erlaube hier Cookies und lade sie neu.",
    ),
    "page.privacy": (
        "Songs go to the computer that runs SpecTacles and nowhere else. "
        "They and their stems are deleted after {hours} h.",
        "Lieder gehen an den Rechner, auf dem SpecTacles läuft, und nirgendwohin sonst. "
        "Sie und ihre Spuren werden nach {hours} h gelöscht.",
    ),
    "page.access_code": (
        "Access code (it is shown where SpecTacles was started)",
        "Zugangscode (er steht dort, wo SpecTacles gestartet wurde)",
    ),
    "page.enter": ("Enter", "Eintreten"),
    "page.no_sound": (
        "This browser does not let the page play stems. Here they are to download:",
        "Dieser Browser lässt die Seite keine Spuren abspielen. Hier sind sie zum Herunterladen:",
    ),
    "page.open_player": ("Open the player", "Player öffnen"),
    "page.player_of": ("Player of {song}", "Player für {song}"),
    "page.play": ("Play", "Abspielen"),
    "page.pause": ("Pause", "Anhalten"),
    "page.loading": ("Loading …", "Lädt …"),
    "page.waits_for_server": ("Waiting for the connection …", "Wartet auf die Verbindung …"),
    "page.loop": ("Loop from here", "Schleife ab hier"),
    "page.loop_to_here": ("Loop to here", "Schleife bis hier"),
    "page.loop_off": ("End the loop", "Schleife beenden"),
    "page.loop_start": ("Start of the loop", "Anfang der Schleife"),
    "page.loop_end": ("End of the loop", "Ende der Schleife"),
    "page.original": ("Original", "Original"),
    "page.original_hint": (
        "Before and after: all four stems as they are in the song",
        "Vorher und nachher: alle vier Spuren, wie sie im Lied sind",
    ),
    "page.time_of": ("{at} / {all}", "{at} / {all}"),
    "page.place_in_song": ("Place in the song", "Stelle im Lied"),
    "page.mute": ("Mute {stem}", "{stem} stumm"),
    "page.mute_letter": ("M", "M"),
    "page.solo": ("Solo {stem}", "{stem} solo"),
    "page.solo_letter": ("S", "S"),
    "page.volume": ("Volume of {stem}", "Lautstärke {stem}"),
    "page.download_stem": ("Download {stem}", "{stem} herunterladen"),
    "page.format": ("Format of downloads", "Format der Downloads"),
    "page.karaoke": ("Karaoke", "Karaoke"),
    "page.zip": ("Everything (zip)", "Alles (zip)"),
    "page.making": ("The download comes as soon as it is made …", "Der Download kommt, sobald er fertig ist …"),
    "page.keys": (
        "Keys: Space plays · 1–4 mute · Shift 1–4 solo · L loop · O original · ← → five seconds",
        "Tasten: Leertaste spielt · 1–4 stumm · Umschalt 1–4 solo · L Schleife · O Original · ← → fünf Sekunden",
    ),
    "page.estimated": ("Estimated quality", "Geschätzte Qualität"),
    "page.weak": ("{stem} is weaker from {from} to {to}", "{stem} ist schwächer von {from} bis {to}"),
    "page.spot": ("{stem} {from}–{to}", "{stem} {from}–{to}"),
    "page.listen_to_weak": ("Listen there:", "Dort hineinhören:"),
    "web.no_job": ("There is no such song here.", "So ein Lied gibt es hier nicht."),
    "web.wrong_host": (
        "This web chat is for this computer only. Open it as http://localhost, or set web.host for others.",
        "Dieser Webchat ist nur für diesen Rechner. Öffne ihn als http://localhost, oder setze web.host für andere.",
    ),
    "web.other_page": ("Another web page must not do this.", "Eine andere Webseite darf das nicht."),
    "web.code_needed": ("The access code is needed.", "Der Zugangscode fehlt."),
    "web.wrong_code": ("This is not the access code.", "Das ist nicht der Zugangscode."),
    "web.too_many_codes": (
        "Too many wrong codes. Try again in a minute.",
        "Zu viele falsche Codes. In einer Minute geht es wieder.",
    ),
    "web.not_a_form": (
        "Send the song as multipart/form-data, in a field called file.",
        "Sende das Lied als multipart/form-data, in einem Feld namens file.",
    ),
    "web.busy": (
        "Too many songs are arriving right now. Try again in a minute.",
        "Gerade kommen zu viele Lieder an. Versuch es in einer Minute wieder.",
    ),
    "web.broken_form": ("This request cannot be read.", "Diese Anfrage ist nicht lesbar."),
    "web.one_song": ("One song at a time, please.", "Bitte nur ein Lied auf einmal."),
    "web.stopped_arriving": ("The song stopped arriving.", "Das Lied kam nicht weiter an."),
    "web.no_file": ("There is no song in the field called file.", "Im Feld namens file ist kein Lied."),
    "web.empty_file": ("This file is empty.", "Diese Datei ist leer."),
    "web.not_audio": ("Not an audio file.", "Keine Audiodatei."),
    "web.unknown_field": ("There is no field called {name}.", "Ein Feld namens {name} gibt es nicht."),
    "web.stems_are": ("stems must be some of: {stems}", "stems müssen einige sein von: {stems}"),
    "web.mixes_are": ("mix must be one of: {mixes}", "mix muss eins sein von: {mixes}"),
    "web.formats_are": ("format must be one of: {formats}", "format muss eins sein von: {formats}"),
    "web.no_stem": ("There is only: {stems}", "Es gibt nur: {stems}"),
    "web.gone": ("The stems of this song are no longer kept.", "Die Spuren dieses Liedes sind nicht mehr da."),
    "web.never_done": ("This song was not separated.", "Dieses Lied wurde nicht zerlegt."),
    "web.not_done": ("This song is not separated yet.", "Dieses Lied ist noch nicht zerlegt."),
    "web.no_part": ("The file is shorter than that.", "So lang ist die Datei nicht."),
    "web.other_file": ("This file is a different one by now.", "Diese Datei ist inzwischen eine andere."),
    "web.no_segment": ("The song is shorter than that.", "So lang ist das Lied nicht."),
    "web.no_playback": ("This song cannot be played here.", "Dieses Lied kann hier nicht abgespielt werden."),
    "web.not_written": (
        "This file could not be written; the disk may be full.",
        "Diese Datei ließ sich nicht schreiben; vielleicht ist die Platte voll.",
    ),
    "web.our_mistake": ("Something went wrong in SpecTacles itself.", "In SpecTacles selbst ging etwas schief."),
    "web.nothing_here": ("There is nothing here.", "Hier ist nichts."),
    "web.not_here": ("This cannot be done here.", "Das geht hier nicht."),
}


def known_language(*tags: str | None) -> str:
    """``fr``, ``de-AT`` → ``de``: the first that is known here, else English."""
    languages = ((tag or "").lower().split("-")[0] for tag in tags)
    return next((language for language in languages if language in LANGUAGES), ENGLISH)


def sentence(key: str, language: str, **values: object) -> str:
    """The sentence of a key, its gaps filled."""
    return _WORDS[key][LANGUAGES.index(language)].format(**values)


def page_sentences(language: str) -> dict[str, str]:
    """All that the page itself says; it fills the gaps."""
    at = LANGUAGES.index(language)
    return {key: words[at] for key, words in _WORDS.items() if key.startswith(("page.", "stem.", "grade."))}
