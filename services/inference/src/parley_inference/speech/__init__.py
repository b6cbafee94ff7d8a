"""Text to speech: the stage that says an answer's sentences, and its synthesizers."""
