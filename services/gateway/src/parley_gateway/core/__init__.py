"""Pure state machines: no await, no I/O, no clock. Time is an argument, decisions are return values.

``turn`` (which events of workers count), ``view`` (what one socket has seen of a turn), ``watch`` (when to ask
again), ``entry`` (a turn as its session holds it), ``session`` (turns one after another, cancel, forced ends), ``flow``
(events, rows and time against a session), ``resume`` (who comes back), ``effects`` (what the shell is asked to do).
"""
