"""Measured data: what a question asks of it, and the answer.

Pure: ``lexicon`` knows what metrics are called, ``moments`` reads times, ``signs`` and ``understanding`` read a
question (``followup`` one that leans on another), ``facts`` are its figures, ``answer`` puts them into words, ``table``
reads what is brought in. ``desk`` and ``look`` are the shell around them.
"""
