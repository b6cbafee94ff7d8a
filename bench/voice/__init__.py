"""Speech: how well, how soon and how many at a time, beside a plain server over the same engine."""
