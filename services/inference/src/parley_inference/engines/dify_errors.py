"""What a failure of Dify means to the person who asked, in the words that clients of the documented system know.

Dify's own words may quote the question, so only its error code is passed on.
"""

import re

import msgspec

from parley_runtime.errors import EngineError, EngineRejected, EngineTimeout

NO_KEY = "错误：未配置 DIFY_API_KEY 环境变量。请设置 DIFY_API_KEY 后重启，或设置 USE_MOCK_RAG=1 使用内置引擎"
_FAILED = "调用 RAG 服务失败：请求错误"
_CODE = re.compile(r"[a-z_]{1,64}")

_HINTS: dict[int | tuple[int, str], str] = {
    (400, "invalid_param"): "请求参数无效，请检查 Dify 应用的必填变量；智能体应用须设 DIFY_MODE=streaming",
    (400, "app_unavailable"): "应用不可用，请在 Dify 中检查并发布该应用",
    (400, "provider_not_initialize"): "未配置模型供应商，请在 Dify 中配置模型凭据",
    (400, "provider_quota_exceeded"): "模型额度已用完，请在 Dify 中充值或更换模型",
    (400, "model_currently_not_support"): "当前模型不可用，请在 Dify 中更换模型",
    (400, "completion_request_error"): "文本生成失败，请在 Dify 中检查模型，稍后再试",
    (400, "conversation_completed"): "会话已结束，请开始新的会话",
    (429, "too_many_requests"): "请求过多，请稍后再试",
    (429, "rate_limit_error"): "已达到应用的调用上限，请在 Dify 中调整限额后再试",
    400: "请求无效，请检查 Dify 应用的配置",
    401: "密钥无效或缺失，请检查 DIFY_API_KEY 后重启",
    403: "没有访问权限，请检查 DIFY_API_KEY 对应的应用",
    404: "未找到应用或会话，请检查 DIFY_BASE_URL（通常以 /v1 结尾）",
    413: "请求过大，请缩短问题",
    415: "不支持的内容类型，请检查 DIFY_BASE_URL",
    429: "请求过多，请稍后再试",
}
_SERVER = "Dify 服务端错误，请稍后再试"
_FINAL_CODES = frozenset({"rate_limit_error"})


class Forgotten(Exception):
    """Dify does not know the conversation any more, or has ended it: ask in a new one. Stays within the engine."""


def code_of(body: bytes) -> str:
    """The ``code`` of an error answer, "" where it has none that can be shown."""
    try:
        code = msgspec.json.decode(body)["code"]
    except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def explain(
    status: int, code: str, *, threaded: bool, retry_after_s: float = 0.0
) -> EngineError | EngineRejected | Forgotten:
    """The error that a status and code stand for, of HTTP or within a stream. ``threaded``: an earlier conversation
    was named.

    EngineError: the same request may be answered at once.
    """
    hint = _HINTS.get((status, code)) or _HINTS.get(status) or (_SERVER if status >= 500 else _redirected(status))
    said = f"Dify API HTTP 错误 {status}" + (f"（{code}）" if code else "") + f"：{hint}"
    if threaded and (status == 404 or code == "conversation_completed"):
        return Forgotten(said)
    if status >= 500 or status == 408 or (status == 429 and code not in _FINAL_CODES):
        return EngineError(said, retry_after_s=retry_after_s)
    return EngineRejected(said)


def _redirected(status: int) -> str:
    if 300 <= status < 400:
        return "地址被重定向，请将 DIFY_BASE_URL 设为最终地址"
    return "请求被拒绝，请检查 DIFY_BASE_URL 和 Dify 应用"


def unreachable(kind: str) -> EngineError:
    """No answer came, or it was cut off."""
    return EngineError(f"{_FAILED}（{kind}），请检查 DIFY_BASE_URL 和网络后再试")


def too_slow(seconds: float) -> EngineTimeout:
    """Dify said nothing for too long."""
    return EngineTimeout(f"{_FAILED}（超过 {seconds:g} 秒没有响应），请稍后再试，或调大 DIFY_TIMEOUT")


def garbled() -> EngineRejected:
    """What came is no answer of Dify."""
    return EngineRejected(f"{_FAILED}（收到无法识别的响应），请检查 DIFY_BASE_URL 是否指向 Dify 的 API")
