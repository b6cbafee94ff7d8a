"""Pure state machines: no await, no I/O, no clock. Time is an argument, decisions are return values.

``turn`` (which events of workers count), ``view`` (what one socket has seen of a turn), ``watch`` (when to ask
again), ``session`` (turns one after another, cancel, expiry, resume), ``flow`` (events, rows and time against a
session), ``effects`` (what the shell is asked to do).
"""
