"""SpecTacles' engine: songs in, stems out. Synchronous; knows nothing of chats.

The way of a song::

    messages     what is asked of it and what it answers; free of torch, as all that a bot may import
    process      the engine as a bot sees it (keeper, child: one that is always ready); worker is its other end
    separation   one song from file to files
      audio        any file → blocks → any file
      input_check  what may disappoint, heard in the song itself
      ensemble     blocks → base models → mixer → residual handed back, as streams (chunking: there and back)
        separators   the base models: demucs, mdx, spleeter (spectrogram: their STFT)
        conditioning songs unlike those of training (off balance, hard-panned), made like them
        mixers       fixed shares, linear, StemMixers (stem_mixer: the network), or a mean (mixer_files: on disk)
        residual     what no stem took
      quality      what the note says of it
      soft_clip    no sample above full scale

presets makes ensembles of what models finds, checks and fetches (download), as weights/manifest.yaml says (manifest).
errors has all that can go wrong, devices picks where networks run, heap keeps memory small, demo is an excerpt with
its true stems (stem_file reads it). audio_files and playback answer a bot's questions in short-lived children
(short_child). training makes the weights.
"""

import os

# Before torch is imported. Its threads wait for each other in a loop, in vain where one has lost its core to another
# program: beside a busy one a song took 1.4 times as long as with so few turns, and as long where nothing else ran.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Before onnxruntime is imported: since 1.32 its builds for Linux tell Microsoft what they run, and on what machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
