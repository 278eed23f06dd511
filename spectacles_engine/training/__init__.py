"""Everything that is trained or measured; never imported by the bots or by a separation.

::

    commands      what each command does (command_line: its options)
    data          songs and loose recordings on disk (musdb18: excerpts that are fetched)
    augment       random mixtures of them (effects, synthesised)
    made_up_songs songs that are made up and rendered, to train on (made_up_notes, made_up_players, made_up_patterns:
                  what is played; recorded_notes: by instruments that were recorded)
    separators    trains the base models (networks: what they are; checkpoints)
    spleeter_weights converts Spleeter's
    estimates     what the base models say of songs, stored
    mixer, linear train mixers on these estimates (bins: what a StemMixer learns from)
    calibration   fits the estimator of the quality note to them
    evaluate      all ways of separating songs, scored (scoring, table, plots; floor and oracle: the bounds)
    bench         a preset's base models over songs: their estimates and the table
    reproduce     the paper's experiment, from estimates to the table
"""
