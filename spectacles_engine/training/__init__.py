"""Everything that is trained or measured; never imported by the bots or by a separation."""
