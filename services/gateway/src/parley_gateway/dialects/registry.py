"""Every documented dialect. A new one adds its line here."""

from parley_gateway.dialects import contact, data_assistant, realtime_asr, review, tutor
from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.realtime import socket as realtime

DIALECTS: tuple[Dialect, ...] = (
    data_assistant.DIALECT,
    contact.DIALECT,
    tutor.DIALECT,
    review.HEALTH,
    review.PROGRESS,
    review.ECHO,
    realtime_asr.DIALECT,
    realtime.DIALECT,
)
