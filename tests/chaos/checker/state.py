"""What the checker knows at one point of a history."""

from collections import Counter
from dataclasses import dataclass, field

from .findings import Findings
from .parties import Client, Faults, Session
from .tracks import Track


@dataclass(slots=True)
class State:
    """``finished``: when the run was over. ``last``: the time of the last happening."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)
    faults: Faults = field(default_factory=Faults)
    clients: dict[str, Client] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    finished: float | None = None
    last: float = 0.0

    def client(self, name: str) -> Client:
        """By its name; unknown ones begin here."""
        if name not in self.clients:
            self.clients[name] = Client(name, Session())
        return self.clients[name]

    def track(self, client: Client, turn: str) -> Track:
        """A client's turn; unknown ones begin here."""
        track = client.tracks.get(turn)
        if track is None:
            track = client.tracks[turn] = Track(client.name, turn, self.findings)
        return track

    def breach(self, rule: str, client: Client, turn: str, at: float, what: str) -> None:
        """A rule was broken."""
        self.findings.breach(rule, client.name, turn, at, what)
