"""The responses of one socket: one at a time writes to the conversation, others run beside it. Pure."""

from dataclasses import replace

from parley_gateway.dialects.realtime import server
from parley_gateway.dialects.realtime.conversation import Conversation
from parley_gateway.dialects.realtime.effects import Ask, Cancel, Effect, Hush, Kept, Rates, Say, said
from parley_gateway.dialects.realtime.faults import INVALID, Unfit, kind_of
from parley_gateway.dialects.realtime.plans import prompt_of
from parley_gateway.dialects.realtime.response import Outcome, Plan, Reason, Responding, Stage
from parley_protocol.faults import FaultCode


class Responses:
    """``limit`` of them beside the conversation at a time; an engine is told of ``prompt`` code points."""

    __slots__ = ("_conversation", "_limit", "_next", "_prompt", "_unasked", "active", "beside")

    def __init__(self, conversation: Conversation, *, limit: int, prompt: int) -> None:
        self._conversation = conversation
        self._limit = limit
        self._prompt = prompt
        self.active: Responding | None = None
        self.beside: dict[str, Responding] = {}
        self._unasked: Responding | None = None
        """The active one, while what was said is not known yet."""
        self._next: Plan | None = None
        """Begins by itself when the active one is over."""

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return self.active is not None or bool(self.beside)

    def begin(self, plan: Plan, *, known: bool = True) -> list[Effect]:
        """Begin one. ``known`` False: what was said is not known yet, :meth:`known` follows. Raises Unfit where as many
        are under way as may be.
        """
        if plan.alone:
            if len(self.beside) >= self._limit:
                raise Unfit(f"{len(self.beside)} responses are under way already: wait for one", word="overloaded")
            response = Responding(plan, None)
            self.beside[response.id] = response
            return [Ask(response, prompt_of(plan, self._conversation, self._prompt))]
        if self.active is not None:
            raise Unfit(
                f"Conversation already has an active response in progress: {self.active.id}. Wait until the response "
                "is finished before creating a new one.",
                word="conversation_already_has_active_response",
            )
        self.active = response = Responding(plan, self._conversation)
        if not known and plan.input is None:
            self._unasked = response
            return []
        return [Ask(response, prompt_of(plan, self._conversation, self._prompt))]

    def follow(self, plan: Plan) -> list[Effect]:
        """Begin one by itself: now, or when the active one is over."""
        if self.active is None:
            return self._by_itself(plan)
        self._next = plan
        return []

    def _by_itself(self, plan: Plan) -> list[Effect]:
        try:
            return self.begin(plan)
        except Unfit as error:
            return [Say(server.error_event(str(error), type=INVALID, code=error.word, param=error.param))]

    def known(self) -> list[Effect]:
        """What was said is known now."""
        response, self._unasked = self._unasked, None
        if response is None or response is not self.active:
            return []
        return [Ask(response, prompt_of(response.plan, self._conversation, self._prompt))]

    def unheard(self, code: FaultCode, message: str) -> list[Effect]:
        """What was said will never be known."""
        response, self._unasked = self._unasked, None
        return [] if response is None else self.refused(response, code, message)

    def cancel(self, id: str | None, reason: Reason) -> list[Effect]:
        """End one, by its id or the active one. Raises Unfit where there is none."""
        response = self.active
        if id is not None and (response is None or response.id != id):
            response = self.beside.get(id)
        if response is None:
            raise Unfit(
                "Cancellation failed: no active response found",
                word="response_cancel_not_active",
                param=None if id is None else "response_id",
            )
        response.reason = response.reason or reason
        if response is self._unasked:
            self._unasked = None
            return self.ended(response, Outcome(end="cancelled"))
        if response.outcome is not None:  # only its audio is under way
            outcome = Outcome(end="cancelled", usage=response.outcome.usage, sources=response.outcome.sources)
            return [Hush(response), *self._end(response, outcome)]
        return [Hush(response), Cancel(response)] if response.spoken else [Cancel(response)]

    # --- what becomes of one ----------------------------------------------------------------------------------

    def accepted(self, response: Responding) -> list[Effect]:
        """Its turn is accepted: it ends in exactly one ``response.done``."""
        frames = response.created()
        return [*said(frames), Rates()] if frames else []

    def ended(self, response: Responding, outcome: Outcome) -> list[Effect]:
        """Its turn is over. One whose audio is still to come is over with that."""
        if response.speaking and response.reason is None and outcome.end != "failed":
            response.outcome = outcome
            return []
        return self._end(response, outcome)

    def spoken(self, response: Responding, fault: server.ResponseError | None = None) -> list[Effect]:
        """All of its audio is there; with a ``fault``, as much as could be had."""
        response.speaking = False
        outcome = response.outcome
        if outcome is None:
            return []
        if fault is not None:
            outcome = replace(outcome, end="failed", reason=None, error=fault)  # calls are told all the same
        return self._end(response, outcome)

    def refused(self, response: Responding, code: FaultCode, message: str) -> list[Effect]:
        """It has no answer: an error where the client has not been told of it, else its end."""
        if response.stage is not Stage.ASKED:
            error = server.ResponseError(type=kind_of(code), code=code.value, message=message)
            return self._end(response, Outcome(end="failed", error=error))
        response.stage = Stage.OVER
        event = server.error_event(message, type=kind_of(code), code=code.value, event_id=response.plan.event_id)
        return [Say(event), *self._over(response)]

    def _end(self, response: Responding, outcome: Outcome) -> list[Effect]:
        return [*said(response.ended(outcome)), *self._over(response)]

    def _over(self, response: Responding) -> list[Effect]:
        self.beside.pop(response.id, None)
        if response is not self.active:
            return []
        self.active = None
        plan, self._next = self._next, None
        return [] if plan is None else self._by_itself(plan)


def interrupted(responses: Responses, id: str | None, reason: Reason) -> list[Effect]:
    """End one, as :meth:`Responses.cancel`. What the client has said of its hearing counts, and not the clock."""
    active = responses.active
    kept = [] if active is None else kept_of(active)
    return [*responses.cancel(id, reason), *kept]


def kept_of(response: Responding) -> list[Effect]:
    """What the client has said of its hearing, for the record."""
    said = response.saying
    return [] if said is None or said.heard is None else [Kept(response.id, response.said_before + said.heard)]
