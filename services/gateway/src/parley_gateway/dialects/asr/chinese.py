"""Chinese: particles, A-not-A, question words that are not indefinite, indirect questions, requests to tell."""

import re

_WH = (
    r"(?:什么|为什么|为啥|啥|谁|哪|怎么|怎样|如何|咋|干嘛|干吗|凭什么|何时|何地|多少|多久|多长|多远|多高(?!兴)"
    r"|多大|多深|多重"
    r"|多宽|多快|多厚|多贵|几(?!乎|十|百|千|万))"
)
_FILLER = re.compile(
    r"^(?:嗯+|呃+|啊|哦|噢|诶|喂|哎|那个|这个这个|就是说?|然后(?!呢)|好的?|行|对(?![比于照])了?|你好|您好"
    r"|不好意思|打扰一下|麻烦你?|请(?![问教假])|那么|所以|但是|不过|其实|ok|okay)+\s*(?=\S)"
)
_TAG = re.compile(
    r"(?:对吧|对吗|对么|是吧|是吗|好吧|好吗|好么|行吧|不是吗|对不对|是不是|好不好|懂吧|明白吧|知道吧|没错吧"
    r"|可以吧|吧)$"
)
_ONLY = re.compile(
    r"^(?:是|真的|对|好|行|不是|没有)?(?:吗|吧|么)$|^(?:是不是|对不对|不是吗|真的假的|什么来着|那什么|那个什么"
    r"|怎么(?:说|讲)(?:呢|吧|啊)?|何必呢?|何苦呢?)$"
)
_RHETORICAL = re.compile(
    r"难道|何必|何苦|不就.*吗$|^这不.*吗$|^你?(?:不是|不会).*吗$|怎么(?:会|可能|能)不|^这?怎么可能|^我?(?:怎么"
    r"|哪儿?|哪里)(?:会)?知道"
    r"|^我?哪(?:能|会|敢|有)|有什么(?:好|可|了不起|大不了|关系)|谁(?:知道|稀罕|在乎|说不是|不想|让你)"
    r"|关我什么事|^我怎么会不"
)
_PARTICLE = re.compile(r"(?:吗|(?<![什怎那这多要])么)$")
_DONE_OR_NOT = re.compile(r"(?:了|过|完|好|到)(?:[^都也]|成都){0,6}没有?$")
_NOT_A = re.compile(r"([^不没一])不\1|(..)不\2|有没有|([^没还])没\3")
_CHOICE = re.compile(r"([^我你他她它们这那的了是])[^还]{0,8}还是[^还]{0,6}\1|[^我你他她]是[^还]{1,8}还是")
_INDIFFERENT = re.compile(
    r"不管|无论|不论|随便|任何|都(?:可以|行|好|无所谓|一样|没用|成|得|欢迎|不|没|要|能|是|想|会|找|有)|要看"
    r"|取决于|不重要|无所谓|没关系|不一定"
)
_INDEFINITE = re.compile(
    r"(?:没有?|不是|那个?|也没|不)什么|什么(?:都|也|的$|来着)|谁(?:都|也)|哪[儿里个些]?(?:都|也)"
    r"|怎么[^，]{0,4}(?:都|也)(?!需|要怎)|(?:不|没)怎么|怎么(?:说|讲)呢"
    r"|多少(?:有点|有些|给|还|会|也|都)|(?:好|十|了|过|这|那|上|前|后|差)几|^(?:还?有)几|几[个位条台][^，]{1,4}(?:已经|正在|刚刚?)(?!.*吗)|(?:没|不)(?:多|几)"
    r"|什么(?:呀|啊)$"
)
_TWICE = re.compile(r"(什么|谁|哪[儿里个]?|怎么|多少)(?:时候)?.{0,8}\1")
_MATRIX = re.compile(
    r"(?:知道|明白|记得|清楚|了解|理解|忘了|忘记|告诉过?|说过?|问过|问了|问(?=[我他她])|解释|讨论|决定|发现|看到|听说|猜到"
    r"|想起)(?:了|过)?(?:我|我们|他|她|你)?"
)
_ADDRESSED = re.compile(r"[你您]|有没有")
"""Before what is known or said: whoever is spoken to is asked for it."""
_DOUBT = r"(?:不知道|不清楚|不明白|不懂|搞不懂|弄不懂|看不懂|不太明白|不太清楚|不太懂|弄不清|搞不清|不晓得|不确定)"
_UNSURE = re.compile(
    rf"^(?:但|可|所以|就是|其实)?我?(?:就|还|真|实在|暂时|一直)?(?:是)?{_DOUBT}(?!的|了$).*(?:{_WH}|不|没|吗|该)"
)
_TOPIC = re.compile(r"^(?:如何|怎么|为什么|怎样|什么)[^，]{0,8}(?:写在|印在|不重要|很重要|才是|是关键|是个|无所谓)")
_EXCLAIM = re.compile(r"(?:多么|多(?![少久长远高大深重宽快厚贵]))[^，]{1,6}(?:啊|呀|的一|哇)?$")
_REQUEST = re.compile(
    r"^(?:你|您|谁)?(?:请|再|先|快|能|可以|能不能|可以不可以|麻烦你?|帮忙)?(?:给我们?|帮我们?|帮忙|替我|跟我"
    r"|和我|为我)?(?:再|简单|详细|大概|重新|先)?(?:地)?"
    r"(?:介绍|解释|说明(?!书)|讲(?:讲|解|一下|一讲|述)|说(?:说|一下|一说)|谈(?:谈|一下)|聊聊|告诉我|列(?:出|举"
    r"|一下)|查(?:一下|查|询|找|看|一查)|查(?=.*(?:的|多少))"
    r"|搜(?:索|一下|搜)|总结|概括|归纳|对比|比较(?:一下|.+和)|分析|描述|显示|展示|推荐|举(?:个|一个|几个)?例"
    r"|算(?:一下|算)|计算|统计|翻译|预测|评价|评估"
    r"|教(?:我|教)|科普|找(?:一下|找|出)|看(?:一下|看)(?=.*(?:有|还|的|是|是否|什么))|问一下|check|explain"
    r"|说明一下|汇总|汇报|复述|梳理|盘点|导出)(?!得|过了|完了|了|好了|实话|的书)"
)
_DIRECTED = re.compile(
    r"(?:帮我|给我|麻烦|请|帮忙)(?:再|先|详细|简单)?(?:们)?(?:地)?(?:查|找一?下|找找|看一?下|看看|讲|介绍|解释"
    r"|说明|分析|总结|列|算|推荐|告诉我|描述|对比|check|explain)"
)
_INDIRECT = re.compile(
    r"请问|请教|(?:想|要|希望|需要|打算)(?:要|先|再)?(?:知道|了解|问|请教|咨询|确认|弄清|弄明白|搞清|打听|听听)"
    r"|有(?:个|一个|几个|些)(?:小)?问题(?!了)(?=$|想|要|请|是|啊)|好奇"
)
_SHORT_NE = re.compile(r"^(?:那|那么|还有|然后|而)?(?![正在还没才着就].+呢)[^正着没早晚]{0,8}呢$")
_ALONE = re.compile(
    r"^(?:为什么|为啥|怎么办|怎么了|什么时候|然后呢|还有呢|几点了|举个例子|比如呢|比如说呢|什么意思|咋办)[呢呀啊]?$"
)


def asks(clause: str, *, marked: bool = False) -> bool:
    """Whether a clause with Chinese in it asks. Without punctuation; Latin letters are in lower case."""
    text = re.sub(r"\s+", "", clause)
    if _ONLY.match(text):
        return False
    text = _FILLER.sub("", text)
    if _ALONE.match(text) or _INDIRECT.search(text):
        return True
    if _ONLY.match(text) or _RHETORICAL.search(text):
        return False
    bare = _TAG.sub("", text)
    if bare != text and len(bare) > 1:
        return _requests(bare) or _words(bare)
    return marked or _requests(text) or _particles(text) or _words(text)


def _requests(text: str) -> bool:
    return bool(_REQUEST.match(text) or _DIRECTED.search(text) or _UNSURE.match(text))


def _particles(text: str) -> bool:
    if _PARTICLE.search(text):
        return True
    if _SHORT_NE.match(text) and not _INDIFFERENT.search(text):
        return True
    return bool(_DONE_OR_NOT.search(text)) and not re.search(r"(?<!成)[都也还]没", text)


def _words(text: str) -> bool:
    """Question words and A-not-A, where nothing makes them part of a statement."""
    if _TOPIC.match(text) or _TWICE.search(text) or _INDIFFERENT.search(text):
        return False
    if _EXCLAIM.search(text) and not re.search(_WH, text):
        return False
    rest = _INDEFINITE.sub("", text)
    found = re.search(_WH, rest) or _NOT_A.search(rest) or _CHOICE.search(rest)
    if found is None:
        return False
    before = rest[: found.start()]
    matrix = _MATRIX.search(before)
    return matrix is None or bool(_ADDRESSED.search(before[: matrix.start()]))
