"""The side that talks with people: settings, sentences, chats. Never imports torch; of the engine only its messages."""
