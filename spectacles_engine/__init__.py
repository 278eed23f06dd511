"""SpecTacles' engine: songs in, stems out. Synchronous; knows nothing of chats."""
