"""The side that talks with people: settings, sentences, chats. Never imports torch.

Of the engine it knows its messages, its errors, its process, and what answers from short-lived children (audio_files,
playback).

The way of a song::

    a chat                  telegram, discord, web: what arrives (app)
      │                     orders, requests: what a person handed in and wants → jobs.Order
      │                     desk: asks the service, and answers at once
    service                 admission refuses; ledger keeps the jobs, store writes them down (database: its tables)
      │
    stations.Preparing      a courier fetches the song (incoming), the engine's audio_files looks into it
    separating              queue: whose turn it is; separated once, for all who wait for the same sound, by the engines
    stations.Delivering     shelf: the files of what is done; delivery: which format fits where
      │
    courier                 stems and note back to the chat

Beside it: board reckons places and times left, announcer has couriers tell them; upkeep deletes what is no longer kept;
replies, refusals, quality_note and words hold every sentence, translation those about a song in other languages;
patience is how long the service waits, and for what, pace how often a chat may see an edit; serving starts it all, and
ends it when signals say so; console is the command line's side. config holds the settings; names makes what strangers
chose safe to write, logs keep secrets.
"""
