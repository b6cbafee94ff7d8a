"""Answers from the passages' own sentences: pure functions, no clock, no randomness.

``blocks`` reads a passage, ``terms`` and ``questions`` read a question, ``ranking`` picks sentences, ``compose`` writes
the answer, ``phrases`` are the few sentences that are our own.
"""
