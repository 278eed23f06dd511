"""German, by the English sentence. The gaps are ``{named}``."""

from __future__ import annotations

RAISED = {
    # Refused before a song is taken.
    "This chat is not on the list of chats that I work for.": (
        "Dieser Chat steht nicht auf der Liste der Chats, für die ich arbeite."
    ),
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
        "Das wären mehr als deine {n} Minuten Ton in 24 Stunden. "
        "Bis die ersten davon wieder frei sind, dauert es {time}."
    ),
    "That would be more than this chat's {n} minutes of audio within 24 hours. "
    "The first of them are free again in {time}.": (
        "Das wären mehr als die {n} Minuten Ton, die dieser Chat in 24 Stunden hat. "
        "Bis die ersten davon wieder frei sind, dauert es {time}."
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
    "I take files, not links. Please send the song itself.": (
        "Ich kann nur Dateien annehmen, keine Links. Bitte sende das Lied selbst."
    ),
    # What the bots do not take, or cannot send.
    "That file can no longer be downloaded. Please send it again.": (
        "Diese Datei lässt sich nicht mehr herunterladen. Bitte sende sie noch einmal."
    ),
    "I cannot read the files of my Telegram server. Please tell whoever runs me.": (
        "Die Dateien des Telegram-Servers lassen sich nicht lesen. Bitte wende dich an die Person, die SpecTacles "
        "betreibt."
    ),
    "Telegram lets bots download files up to 20 MB, and this one is larger. Send it as MP3 or M4A, or a shorter part. "
    "(Whoever runs this bot can lift the limit with a local Bot API server.)": (
        "Telegram lässt Bots Dateien bis 20 MB herunterladen, und diese ist größer. Sende sie als MP3 oder M4A, oder "
        "einen kürzeren Teil. (Wer diesen Bot betreibt, kann die Grenze mit einem lokalen Bot-API-Server aufheben.)"
    ),
    "These are stems already. The buttons under the message that they came with give you the song's other stems.": (
        "Das sind schon Spuren. Mit den Knöpfen unter der Nachricht, mit der sie kamen, bekommst du andere Spuren "
        "desselben Lieds."
    ),
    "I don't know “{word}”. Stems: {stems} (guitars, keys and the rest). Mixes: {mixes}. Formats: {formats}.": (
        "„{word}“ kenne ich nicht. Spuren: {stems} (Gitarren, Tasten und der Rest). Mischungen: {mixes}. "
        "Formate: {formats}."
    ),
    "One mix at a time, please.": "Bitte nur eine Mischung auf einmal.",
    "One format at a time, please.": "Bitte nur ein Format auf einmal.",
    "The stems are too large for this chat, which takes files up to {n} MB. Send a shorter part.": (
        "Die Spuren sind zu groß für diesen Chat, der Dateien bis {n} MB nimmt. Sende einen kürzeren Teil."
    ),
    "I am not allowed to send files here. Ask an admin to allow it, or send me the song in a private message.": (
        "Ich darf hier keine Dateien senden. Bitte einen Admin, das zu erlauben, oder sende mir das Lied privat."
    ),
    "Telegram does not tell me who is an admin here. Make me an admin, or try again later.": (
        "Telegram sagt mir nicht, wer hier Admin ist. Mach mich zum Admin, oder versuch es später wieder."
    ),
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
    "the input is silent": "Die Aufnahme ist still.",
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
    "less than a minute": "weniger als eine Minute",
    "1 minute": "eine Minute",
    "{n} minutes": "{n} Minuten",
    "{n} seconds": "{n} Sekunden",
    "{n} hours": "{n} Stunden",
    "{n} days": "{n} Tage",
}
"""What is raised or stored in English, and translated when it is told."""

SAID = {
    # What has no title.
    "voice message": "Sprachnachricht",
    "video message": "Videonachricht",
    "video": "Video",
    "song": "Lied",
    # Where a song stands.
    "{song}: place {n} in the queue; I am listening to it.": "{song}: Platz {n} in der Warteschlange; ich höre hinein.",
    "{song}: I am listening to it.": "{song}: Ich höre hinein.",
    "{song}: place {n} in the queue{time}.": "{song}: Platz {n} in der Warteschlange{time}.",
    "{song}: in the queue{time}.": "{song}: in der Warteschlange{time}.",
    "{song}: separating, {percent} %{time}.": "{song}: wird zerlegt, {percent} %{time}.",
    ", {time} to go": ", noch {time}",
    ", about {time} to go": ", noch etwa {time}",
    "{song}: the stems are on their way.": "{song}: Die Spuren sind unterwegs.",
    "{song}: done.": "{song}: fertig.",
    "{song}: cancelled.": "{song}: abgebrochen.",
    # With the stems.
    "Note: {warning}.": "Hinweis: {warning}",
    "Sent as {format}, because files may have at most {n} MB here.": (
        "Gesendet als {format}, denn Dateien dürfen hier höchstens {n} MB haben."
    ),
    "{format} at {n} kbit/s": "{format} mit {n} kbit/s",
    "I could not see whether the stems arrived. If they are missing, reply to this message with /stems.": (
        "Ob die Spuren angekommen sind, war nicht zu sehen. Fehlen sie, dann antworte auf diese Nachricht mit /stems."
    ),
    # Buttons.
    "Karaoke": "Karaoke",
    "Cancel": "Abbrechen",
    "Delete": "Löschen",
    # Answers.
    "I have it. The stems come here as soon as they are ready.": (
        "Ich habe es. Die Spuren kommen hierher, sobald sie fertig sind."
    ),
    "and {n} more": "und noch {n}",
    "You have no song in progress here.": "Du hast hier kein Lied in Arbeit.",
    "Cancelled: {songs}.": "Abgebrochen: {songs}.",
    "There is nothing left to cancel. {status}": "Da ist nichts mehr abzubrechen. {status}",
    "There is nothing stored.": "Es ist nichts gespeichert.",
    "1 song": "1 Lied",
    "{n} songs": "{n} Lieder",
    "all stems": "alle Spuren",
    "the stems of {n}": "die Spuren von {n}",
    "{n} MB": "{n} MB",
    "Deleted: {songs}.": "Gelöscht: {songs}.",
    "Deleted: {songs}, and {stems} ({size}).": "Gelöscht: {songs} und {stems} ({size}).",
    "less than 1 MB": "weniger als 1 MB",
    "Deleted.": "Gelöscht.",
    "Only an admin of this group can do that. /forget deletes what is yours.": (
        "Das kann nur ein Admin dieser Gruppe. /forget löscht, was von dir ist."
    ),
    "Only somebody who may manage messages here can do that. /forget deletes what is yours.": (
        "Das kann nur, wer hier Nachrichten verwalten darf. /forget löscht, was von dir ist."
    ),
    "Only the person who asked for this can do that.": "Das kann nur, wer darum gebeten hat.",
    "That song is no longer stored. Please send it again.": (
        "Dieses Lied ist nicht mehr gespeichert. Bitte sende es noch einmal."
    ),
    "Nothing of that song is stored any more. Its messages can be deleted by hand, by whoever may do that here.": (
        "Von diesem Lied ist nichts mehr gespeichert. Seine Nachrichten kann von Hand löschen, wer das hier darf."
    ),
    "Which song? Reply to it with this command, or send it with the command as its caption.": (
        "Welches Lied? Antworte darauf mit diesem Befehl, oder sende es mit dem Befehl als Beschreibung."
    ),
    "Which song? Add it to the command as its attachment, or tap a button under its stems.": (
        "Welches Lied? Hänge es an den Befehl an, oder tippe auf einen Knopf unter seinen Spuren."
    ),
    "There is no audio or video in that message.": "In dieser Nachricht ist weder Ton noch Video.",
    # Help, and what is kept.
    "Hello! I take songs apart.": "Hallo! Ich zerlege Lieder.",
    "Send me a song, a voice note or a video, and I send back its vocals, drums, bass and the rest as four files.": (
        "Sende mir ein Lied, eine Sprachnachricht oder ein Video: Gesang, Schlagzeug, Bass und der Rest kommen als "
        "vier Dateien zurück."
    ),
    "Reply with /stems to a song, and I send back its vocals, drums, bass and the rest as four files.": (
        "Antworte auf ein Lied mit /stems: Gesang, Schlagzeug, Bass und der Rest kommen als vier Dateien zurück."
    ),
    "Only some: /vocals, /drums, /bass, /other, /karaoke, or /stems vocals drums, as a reply to the song.": (
        "Nur einige: /vocals, /drums, /bass, /other, /karaoke, oder /stems vocals drums, als Antwort auf das Lied."
    ),
    "Another format: add mp3, flac or wav, as in /vocals flac.": (
        "Ein anderes Format: mp3, flac oder wav dazu, wie in /vocals flac."
    ),
    "/separate takes a song, voice note or video, and I send its vocals, drums, bass and the rest as files.": (
        "/separate nimmt ein Lied, eine Sprachnachricht oder ein Video: Gesang, Schlagzeug, Bass und der Rest kommen "
        "als Dateien."
    ),
    "A song that is here already: right-click or hold it, Apps › Separate stems. Or send me one privately.": (
        "Ein Lied, das schon hier ist: Rechtsklick oder gedrückt halten, Apps › Separate stems. Oder sende mir eins "
        "privat."
    ),
    "Only some: /vocals, /drums, /bass, /other, /karaoke, /stems, also of your last song. All take a format.": (
        "Nur einige: /vocals, /drums, /bass, /other, /karaoke, /stems, auch von deinem letzten Lied; alle mit Format."
    ),
    "/queue shows where your songs stand, and /cancel stops them.": (
        "/queue zeigt, wie weit deine Lieder sind, und /cancel bricht sie ab."
    ),
    "/privacy says what is kept, and /forget deletes what is yours.": (
        "/privacy sagt, was gespeichert wird, und /forget löscht, was von dir ist."
    ),
    "Songs are separated on the computer that runs this bot, and sent nowhere else. A song is deleted as soon as "
    "it is separated; its stems, its title and who sent it stay for {time}, so that you can ask again.": (
        "Lieder werden auf dem Rechner zerlegt, auf dem dieser Bot läuft, und nirgendwohin sonst gesendet. Ein Lied "
        "wird gelöscht, sobald es zerlegt ist; seine Spuren, sein Titel und wer es gesendet hat bleiben {time}, damit "
        "du noch einmal fragen kannst."
    ),
    "/forget deletes everything of yours at once, and /forget chat, by an admin, everything of a group.": (
        "/forget löscht sofort alles von dir, und /forget chat, von einem Admin, alles von einer Gruppe."
    ),
    "/forget deletes everything of yours at once, and /forget chat:True, by somebody who may manage messages, "
    "everything of this channel.": (
        "/forget löscht sofort alles von dir, und /forget chat:True, von jemandem, der Nachrichten verwalten darf, "
        "alles von diesem Kanal."
    ),
    "Two things stay: stems that somebody else asked for as well, and, for a day, a count of your minutes, for the "
    "daily limit. The messages in this chat stay until you delete them.": (
        "Zweierlei bleibt: Spuren, um die auch jemand anders gebeten hat, und, einen Tag lang, die Zahl deiner "
        "Minuten, für die Tagesgrenze. Die Nachrichten in diesem Chat bleiben, bis du sie löschst."
    ),
    # Menus.
    "All four stems of the song that you reply to, or some: /stems vocals drums": (
        "Alle vier Spuren des Lieds, auf das du antwortest, oder einige: /stems vocals drums"
    ),
    "Only the vocals": "Nur der Gesang",
    "Only the drums": "Nur das Schlagzeug",
    "Only the bass": "Nur der Bass",
    "Only what is left: guitars, keys, strings": "Nur der Rest: Gitarren, Tasten, Streicher",
    "Everything but the vocals": "Alles außer dem Gesang",
    "Where your songs stand": "Wie weit deine Lieder sind",
    "Cancel your songs that are waiting or being separated": "Bricht ab, was von dir wartet oder zerlegt wird",
    "Delete everything that is stored about you": "Löscht alles, was von dir gespeichert ist",
    "What is kept, and for how long": "Was gespeichert wird, und wie lange",
    "How it works": "So funktioniert es",
    "Separates a song into vocals, drums, bass and other": "Zerlegt ein Lied in Gesang, Schlagzeug, Bass und den Rest",
    "All four stems of a song, or some of them": "Alle vier Spuren eines Lieds, oder einige",
    "The song: audio or video": "Das Lied: Audio oder Video",
    "Audio or video; your last song here if left out": "Audio oder Video; sonst dein letztes Lied hier",
    "Some of the stems, or karaoke; all four if left out": "Einige der Spuren, oder karaoke; sonst alle vier",
    "MP3 if left out": "Sonst MP3",
    "Everything of this channel, whoever sent it; only if you may manage messages": (
        "Alles von diesem Kanal, von wem auch immer; wenn du Nachrichten verwalten darfst"
    ),
}
"""What the bots say, call songs that have no title, and write into menus."""
