"""How people write times, as patterns: numbers, units, dates, days and periods, in Chinese and English."""

import re

DIGITS = "零一二三四五六七八九"
NUMBER = (
    r"\d{1,4}|[零一二两三四五六七八九十百半]{1,4}|an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|few|几"
)
WORDS = {"a": 1, "an": 1, "few": 3, "几": 3, "twelve": 12, "twenty": 20} | {
    word: number
    for number, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 1)
}
UNIT_ZH = r"分钟|个?小时|个?钟头|天|日|个?星期|周|个?礼拜|个?月|年|个?季度"
UNIT_EN = r"minutes?|mins?|hours?|hrs?|h|days?|weeks?|months?|quarters?|years?"
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
MONTH_EN = (
    r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?"
)
DATE = (
    r"(?:"
    r"(?P<{0}y>(?:19|20|21)\d\d)\s*(?:[-/.]\s*(?P<{0}m>\d{{1,2}})(?:\s*[-/.]\s*(?P<{0}d>\d{{1,2}}))?"
    r"|年\s*(?:(?P<{0}zm>\d{{1,2}})\s*月"
    r"(?:份|\s*(?P<{0}zd>\d{{1,2}})\s*[日号]?)?)?)"
    r"|(?P<{0}om>\d{{1,2}})\s*月\s*(?P<{0}od>\d{{1,2}})\s*[日号]?"
    r"|(?P<{0}em>{1})\.?\s+(?P<{0}ed>\d{{1,2}})(?:st|nd|rd|th)?(?!\d)(?:,?\s+(?P<{0}ey>(?:19|20|21)\d\d))?"
    r"|(?P<{0}fd>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<{0}fm>{1})\.?(?:,?\s+(?P<{0}fy>(?:19|20|21)\d\d))?"
    r"|(?P<{0}gm>{1})\.?\s+(?P<{0}gy>(?:19|20|21)\d\d)"
    r")"
    r"(?:(?:\s+at\s+|[\sT,]+|(?=[上下中早晚凌]))?(?P<{0}part>凌晨|早上|上午|中午|下午|晚上)?\s*(?P<{0}hh>\d{{1,2}})"
    r"(?::(?P<{0}mi>\d\d)(?::(?P<{0}ss>\d\d))?|[点时](?:(?P<{0}zmi>\d{{1,2}})分?)?)(?P<{0}utc>Z)?)?"
)


def _date(prefix: str) -> str:
    return DATE.format(prefix, MONTH_EN)


NEAR = r"昨天|昨日|前天|今天|今日|现在|此刻|目前|yesterday|today|now"
POINT = "(?:{0}|(?P<{1}near>{2}))"
CLOCK = r"|(?P<bday>\d{1,2})[日号]|(?P<bc>\d{1,2})(?::(?P<bcm>\d\d)|[点时](?:(?P<bcz>\d{1,2})分?)?)"
A, B = (POINT.format(_date(prefix), prefix, NEAR + more) for prefix, more in (("a", ""), ("b", "")))
B_OR_CLOCK = B[:-1] + CLOCK + ")"
_I = re.IGNORECASE

BETWEEN = re.compile(
    rf"(?:从|自|于|在|between|from)?\s*{A}\s*(?:起|开始)?\s*(?:到|至|~|～|—+|–|\.\.|/|-(?=\s)|\s-|and|to"
    rf"|until|till|through)"
    rf"\s*{B_OR_CLOCK}(?:\s*(?:之间|期间|为止))?",
    _I,
)
ON = re.compile(rf"(?:on\s+|in\s+)?{_date('a')}", _I)
FROM_BEFORE = re.compile(r"(?:\bsince|自从?|从)\s*(?:the\s+)?$", _I)
FROM_AFTER = re.compile(r"\s*(?:以来|至今|起(?!伏)|开始|到现在|到今天|onwards)", _I)

LAST_N = re.compile(
    r"(?:最近|最新|近|last|latest|newest|most recent|recent)\s*(?:的\s*)?(?P<n>\d{1,4}"
    r"|[一二两三四五六七八九十百]{1,3}|one|two|three|five|ten"
    r"|twenty)\s*(?:条|个(?=读数|数据|数值|测量|记录|\s)|次|笔|组|(?:\w+\s+){0,3}?(?:readings?|records?"
    r"|measurements?|samples?"
    r"|values?|data points?|entries|temps|temperatures)|(?=\s{2}|\s*$))",
    _I,
)
PAST = re.compile(
    rf"(?:(?:在)?(?:过去|最近|近|前|之前"
    rf"|这)的?(?:这)?\s*(?P<zn>{NUMBER})?\s*(?:多)?(?P<zu>{UNIT_ZH})(?:半)?(?:以?来|之?内|里|间|中)?"
    rf"|(?<![\d月年/.-])(?P<yn>{NUMBER})\s*(?P<yu>{UNIT_ZH})(?:以来|之?内)"
    rf"|(?:(?:over|in|during|within|for|from)\s+)?(?:the\s+)?(?:past|previous|last"
    rf"|latest)\s+(?P<en>{NUMBER})[\s-]*(?P<eu>{UNIT_EN})\b"
    rf"|(?:(?:over|in|during|within|for)\s+)(?:the\s+)?(?:past|last)\s+(?P<fu>minute|hour|day|week|month|year)\b"
    rf"|(?:the\s+)?(?:past|last)\s+(?P<gu>minute|hour|day)\b|(?:the\s+)?past\s+(?P<hu>week|month|year)\b"
    rf"|(?<![\d月年/.-])(?P<hn>\d{{1,4}})\s*(?P<hz>h|hours?|小时|天)\s*(?=(?:内|的|water|data|readings|水))"
    rf"|(?:过去|最近|近)?(?P<half>半)(?P<halfu>个?小时|天|个?月|年))",
    _I,
)
AGO = re.compile(rf"(?P<zn>{NUMBER})\s*(?P<zu>{UNIT_ZH})(?:以?前|之前)|(?P<en>{NUMBER})\s+(?P<eu>{UNIT_EN})\s+ago", _I)
LATEST = re.compile(
    r"最近一次|最近一条|最新一条|最近|最新|目前|现在|当前|此刻|此时|实时|刚刚|刚才|眼下|如今|这会儿|即时"
    r"|\b(?:most\s+recent(?:ly)?|latest|newest|recent(?:ly)?|current(?:ly)?|right\s+now|at\s+the\s+moment"
    r"|at\s+present|just\s+now"
    r"|live|real[\s-]?time|now|last(?=\s+(?:\w+\s+){0,3}?(?:readings?|values?|measurements?|records?)\b))\b",
    _I,
)
PART = {
    "凌晨": (0, 6), "早上": (5, 12), "早晨": (5, 12), "今早": (5, 12), "清晨": (5, 9), "上午": (6, 12),
    "中午": (11, 14), "下午": (12, 18), "傍晚": (17, 20), "晚上": (18, 24), "晚间": (18, 24),
    "夜里": (18, 30), "夜间": (18, 30),
    "morning": (5, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (18, 30), "noon": (12, 13),
}  # fmt: skip
PARTS = "|".join(PART)
DAYS_BACK = {
    "今天": 0, "今日": 0, "今": 0, "今儿": 0, "昨儿": 1, "前儿": 2,
    "today": 0, "this": 0, "tonight": 0, "昨天": 1, "昨日": 1, "昨": 1, "yesterday": 1,
    "last": 1, "前天": 2, "前日": 2, "大前天": 3, "the day before yesterday": 2, "day before yesterday": 2,
}  # fmt: skip
_HOUR = r"\d\d?|[一二两三四五六七八九十][一二三四五六七八九十]?"
_CLOCK_ZH = (
    rf"(?P<{{0}}h>{_HOUR})\s*[点时](?!间|候)(?:(?P<{{0}}m>半|[\d一二三四五六七八九十]+)分?)?"
    rf"(?:\s*[到至~-]\s*(?P<{{0}}to>{_HOUR})\s*[点时])?"
)
_CLOCK_EN = r"(?P<{0}h>\d{{1,2}})(?::(?P<{0}m>\d\d))?\s*(?:(?P<{0}half>[ap])\.?m\b\.?|o'?clock\b|(?<=:\d\d))"
DAY = re.compile(
    rf"(?:\bat\s+{_CLOCK_EN.format('a')}\s+)?"
    rf"(?P<day>大前天|前天|前日|昨天|昨日|今天|今日|[昨今前]儿(?=个|[^子]|$)"
    rf"|(?:the\s+)?day\s+before\s+yesterday|yesterday|today)个?"
    rf"(?:(?:的|\s|\bat\s(?=noon))*(?P<part>{PARTS}))?"
    rf"(?:(?:的|\s)*(?:{_CLOCK_ZH.format('z')}|\bat\s+{_CLOCK_EN.format('b')}))?"
    rf"|(?P<zday>昨|今)(?P<zpart>晚上?|夜里?|早上?|晨)(?:{_CLOCK_ZH.format('y')})?"
    rf"|(?:on\s+)?(?P<eday>this|last)\s+(?P<epart>morning|afternoon|evening|night)\b|(?P<tonight>tonight)\b"
    rf"|(?P<over>\bovernight)\b",
    _I,
)
TIME_OF_DAY = re.compile(
    rf"(?<!明天)(?<!后天)(?<!每天)(?<!每日)(?P<bare>凌晨|清晨|早上|早晨|上午|中午|下午|傍晚|晚上|夜里|夜间)"
    rf"(?:{_CLOCK_ZH.format('x')})?"
)
"""Without a day, the last one that has begun."""
CALENDAR = re.compile(
    r"(?P<zw>这|本|上|上上)(?:一)?个?(?P<zk>周末|周|星期|礼拜|月|季度|年)(?:份)?(?:[来内里中]"
    r"|以来)?(?:(?P<wd>[一二三四五六日天])(?![个天周月年]))?"
    r"|(?P<yy>今年|去年|前年)(?:以来)?(?:(?P<ym>\d{1,2}|[一二三四五六七八九十]{1,2})月份?)?"
    r"|(?<![上近去每前这数几多个\d一二三四五六七八九十])(?P<em>\d{1,2}|十[一二]?|[一二三四五六七八九])月(?:份|(?![\s\d]*\d"
    r"|[一二三四五六七八九十]|[前内后初底末中上下以来间球亮饼]))"
    r"|(?P<ew>this|last|of the)\s+(?P<ek>weekend|week|month|quarter|year)\b"
    r"|(?P<we>(?:over|during|on|at)\s+the\s+(?:past\s+|last\s+)?weekend\b|周末)"
    r"|(?:on\s+|last\s+)?(?P<ed>monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b"
    r"|(?:上|本|这)?(?:周|星期|礼拜)(?P<zd>[一二三四五六日天])(?![个天周月年])"
    r"|(?:\b(?:in|for|during|over|throughout)\s+|(?<=since\s))(?P<inm>january|february|march|april|may|june|july|august|september|october|november|december)\b(?!\s*\d)"
    r"|\bin\s+(?P<iny>20\d\d)\b",
    _I,
)
WEEKDAYS = "一二三四五六日"
WEEKDAYS_EN = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
