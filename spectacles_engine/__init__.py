"""SpecTacles' engine: songs in, stems out. Synchronous; knows nothing of chats.

The way of a song::

    messages     what is asked of it and what it answers; free of torch, as all that a bot may import
    process      the engine as a bot sees it (keeper, child: one that is always ready); worker is its other end
    separation   one song from file to files
      audio        any file → blocks → any file
      ensemble     blocks → base models → mixer → residual handed back, as streams (chunking: there and back)
        separators   the base models: demucs, mdx, spleeter
        mixers       fixed shares, linear, or StemMixers (stem_mixer: the network)
      quality      what the note says of it
      soft_clip    the last step

presets makes ensembles of what models finds, checks and fetches (download), as weights/manifest.yaml says (manifest).
audio_files and playback answer a bot's questions in short-lived children (short_child). training makes the weights.
"""
