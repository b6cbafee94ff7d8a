"""Labelled utterances, and how well the realtime ASR dialect tells questions from the rest."""
