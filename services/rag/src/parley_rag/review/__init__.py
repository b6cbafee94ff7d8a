"""Contract review: ``clauses`` cuts, ``parties`` knows who is who, ``rules`` finds what the playbook says, ``playbook``
and ``model`` judge, ``assessor`` says what that is, ``stages`` are the two consumers, ``sweeper`` looks after tasks
that stand still.

All state is in the store: a job that comes twice finds its work done.
"""
