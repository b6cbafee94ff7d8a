"""Words that tell what a question asks of measured data, and those that tell that it asks something else. Pure."""

import enum
import re


class Aggregate(enum.StrEnum):
    """What is asked of the readings. ``SUMMARY``: nothing in particular."""

    LATEST = "latest"
    MAX = "max"
    MIN = "min"
    MEAN = "mean"
    TREND = "trend"
    COUNT = "count"
    SUMMARY = "summary"


_I = re.IGNORECASE

AGGREGATES: tuple[tuple[Aggregate, re.Pattern[str]], ...] = (
    (
        Aggregate.MAX,
        re.compile(
            r"最高|最大|峰值|最热|最暖|最多|上限值|\bhow (?:hot|warm|high) (?:did|has)\b|\b(?:max(?:imum)?|highest"
            r"|peak(?:ed)?|hottest|warmest|greatest|largest)\b",
            _I,
        ),
    ),
    (
        Aggregate.MIN,
        re.compile(
            r"最低|最小|谷值|最冷|最凉|最少|\bhow (?:cold|cool|low) (?:did|has)\b|\b(?:min(?:imum)?|lowest|coldest"
            r"|coolest|smallest|least)\b",
            _I,
        ),
    ),
    (Aggregate.MEAN, re.compile(r"平均|均值|\b(?:mean(?!s\b)|average[ds]?|avg)\b", _I)),
    (
        Aggregate.TREND,
        re.compile(
            r"趋势|走势|走向|变化|波动|曲线|回升|下滑|走高|走低|[升降涨跌](?:了|过)?没|有没有?[升降涨跌上下]|[升降涨跌]了?(?:多少|吗)|升高还是|上升还是|升了还是|在(?:上升|升高|下降|降低|变)|升了吗"
            r"|降了吗|上升了吗|下降了吗"
            r"|\b(?:trend(?:s|ing)?|chang(?:e[ds]?|ing)|ris(?:e|en|ing)|rose|fall(?:en|ing)|fell|drop(?:ped|ping)?"
            r"|going (?:up|down)|gone (?:up|down)|go (?:up|down)|evol(?:ve[ds]?|ution)|fluctuat\w+"
            r"|var(?:y|ied|ies|ying|iation)|(?:getting|becoming) \w+er"
            r"|develop(?:ed|ment))\b",
            _I,
        ),
    ),
    (
        Aggregate.COUNT,
        re.compile(
            r"多少[条个次笔](?!月|小时)|几[条次笔]|\bhow many\s+(?:\w+\s+){0,3}(?:readings?|measurements?"
            r"|records?|samples?)\b",
            _I,
        ),
    ),
)

VALUE = re.compile(
    r"多少|几度|多高|多低|多大|多热|多冷|多深|高吗|低吗|高不高|低不低|热吗|冷吗|热不热|冷不冷|凉不凉|暖不暖|凉吗|正常吗|怎么样"
    r"|怎样了|如何[？?。\s]*$|情况"
    r"|大不大|多不多|够吗|够不够|还够|够高|缺不缺|稳定吗|稳不稳|还好吗|还行吗|好不好|[高低大小热冷多少](?:还是|一些|一点)"
    r"|哪[个里儿一]?[^,，。]{0,8}(?:更|比较|最)[高低大小热冷多少]"
    r"|是几|是几度|超过|低于|高于|达到|有没有超|数是|值是|咋样|啥样"
    r"|\bhow (?:hot|warm|cold|cool|high|low|deep|salty|acidic|humid|much|cloudy|bright|strong)\b"
    r"|\bwhat(?:'s|’s|s| is| are| was| were) (?:the|our|my|today's|yesterday's|this|last|its)\b"
    r"|\bhow(?:'s|’s|s| is| are| was| were) (?:the|our|my|its|things)\b|\bwhich\b.*\b(?:higher|lower|warmer|colder)\b"
    r"|\b(?:warmer|colder|cooler|hotter|higher|lower|deeper|wetter|drier|clearer|cloudier) than\b"
    r"|\bwhat (?:\w+ ){0,3}(?:did|do|does) .*\b(?:read|show|report|measure|reach)\b"
    r"|\b(?:did|does|has|is|was|were|are) .*\b(?:above|below|over|under|exceed\w*|reach\w*|higher|lower|high"
    r"|low|stable|steady|good|fine|ok|okay|normal|within)\b",
    _I,
)
VERB = re.compile(
    r"查询|查一下|查下|查查|查看|查|看一?下|看看|显示|列出|列一下|给我|告诉我|获取|读取|读一下|调出|拉一下"
    r"|导出|汇报|报一下|报告一下|统计|画|想知道|想看|想了解"
    r"|\b(?:show|list|get|give|tell|fetch|display|report|plot|chart|graph|query|look up|pull up|check|read"
    r"|retrieve|see|print|want|need"
    r"|summari[sz]e|compare)\b",
    _I,
)
DATA = re.compile(
    r"数据|读数|数值|记录|测量值|监测值|实测|(?:监测|检测|测量|测定|化验)结果|\b(?:readings?|readouts?|logs?|history|measurements?|data|values?"
    r"|levels?|records?|samples?|figures|numbers)\b",
    _I,
)
MEASURED = re.compile(
    r"传感器|监测|实测|测量|测到|测得|采集|采到|探头|读数|\b(?:sensors?|readings?|measurements?|measured|telemetry|probes?"
    r"|monitoring)\b",
    _I,
)
"""Data of sensors, where no metric is named."""

EVERY = re.compile(
    r"(?:所有|全部|历史)[的历史全部\s]*(?:数据|读数|记录|数值)"
    r"|\ball\s+(?:(?:of\s+)?(?:the|our|my)\s+)?(?:readings|data|measurements|records|values)\b",
    _I,
)
"""All readings there are, where the metric's name has been taken out."""

COMPARED = re.compile(r"比(?![例重值方])|对比|相比|\bthan\b|\bcompar|\bvs\b|\bversus\b", _I)
"""Two times are compared, where two are named."""

KNOWLEDGE = re.compile(
    r"(?:超过|低于|高于|大于|小于|不超过)(?:多少|几)|(?:多少|几)[度个]?(?:要|需|就|才|会|可以|以上|以下|开始|合|最好)"
    r"|应(?![用答])|保持|维持|打开|关闭|开启|启动"
    r"|为什么|为何|为啥|什么原因|原因|怎么(?!样[？?。\s]*$|样$|样了)|怎样(?!了)|如何(?![？?。\s]*$)|影响|作用"
    r"|关系|区别|差别|不同|意义|用途|有什么用|用来|原理|定义|含义|概念|意思"
    r"|什么叫|介绍|解释|说明|科普|标准|国标|规范|规定|要求|适宜|适合|合适|最佳|理想|应该|应当|该(?:保持|控制"
    r"|是|怎)|需要(?:多|保持|控制)|必须|建议|正常范围|安全范围|一般|控制[在到]|[算才][高低正偏合达安多少]|正常(?:值|水平)|有害|有毒|害处|放在|装在|位置|哪家|哪款|通常|方法|步骤|办法|措施"
    r"|注意|危害|导致|引起|造成|怎么办|如果|假如|坏|故障|维修|更换|电池|离线|安装|校准|标定|接线|布置|精度"
    r"|型号|价格|多少钱|品牌|厂家|单位是|用什么|哪种|什么样的|哪些因素|因素|文档|手册|知识库|论文|文章|教程"
    r"|代码|接口|字段|格式|导入|上传|配置|设置|参数|算法|模型|公式|计算方法"
    r"|会(?:不会)?(?:死|怎么|让|使|对)|生病|中毒|毒性|致死|发病|能(?:不能)?(?:养|活|存活|支持|用)|可以(?:养|用)|预测|预报|预警规则|阈值|明天"
    r"|后天|下周|下个?月|将来|未来"
    r"|\bwhy\b|\bhow (?:do|does|can|could|should|would|to|often|long|come|accurate|important)\b"
    r"|\bhow (?:is|are|was|were) .*\b(?!compared)(?:\w{2,}ed|done|made|kept|set|built|taken|known|meant|found)\b"
    r"|\bkill|\bharm|\bhurts?\b|\btoxic|\bdamag|\bsick|\bdisease|\bgrow|\bbloom|\bprefer|\bhealthy\b|\bacceptable|\btolerat|\bproper\b|\bappropriate"
    r"|\b(?:of|for|in) an? (?:\w+ )?(?:ponds?|tank|fish|lake|pool|aquarium)\b(?!\s*[-#]?\d)"
    r"|\bexplain|\bdefin|\bmeaning\b|\bdo(?:es)? .* mean\b|\bmeant by\b"
    r"|\bdifference|\bdiffer\b|\beffects?\b|\baffect|\binfluenc|\bimpact|\bideal|\boptim|\bbest\b|\bsafe\b"
    r"|\brecommend|\bsuitable|\bnormal(?:ly)? (?:range|value|level)|\bnormally\b|\btypical|\busually\b"
    r"|\bshould\b|\bmust\b|\bcauses?\b|\bcausing\b|\bimportan|\brelationship|\brelated?\b|\bcalibrat"
    r"|\binstall|\bconfigur|\bsettings?\b|\bparameter|\bformat|\bimport|\bupload|\bapi\b|\bcolumn|\bfield\b"
    r"|\bformula|\bunits? (?:is|are|of|for)\b|\bwhich unit|\bwhat unit|\bbroken?\b|\bfault|\brepair|\breplace"
    r"|\bbatter|\boffline|\baccura|\bprice|\bcost|\bbuy\b|\bvendor|\bmanual\b|\bdocument|\bknowledge base|\bmethod"
    r"|\bguide|\btutorial|\barticle|\bpaper\b|\bcode\b|\bmodel\b|\bsampling\b|\bpredict|\bforecast"
    r"|\btomorrow\b|\bnext (?:week|month|day|year)\b|\bif\b|\bcan (?:i (?!see|get|have)|we (?!see|get|have)"
    r"|fish|it)|\bsurviv|\blive (?:in|at|with)\b|\bused for\b|\buse of\b|\bhappens?\b"
    r"|\bdanger|\bprevent|\bcontrol\b|\bincrease the\b|\breduce\b|\braise the\b|\braises\b|\blowers\b"
    r"|\b(?:does|do) (?!the\b|our\b|my\b)\w+ (?:lower|raise|change|increase|reduce|drop)\b"
    r"|\bis it (?:normal|ok|okay|safe|bad|good|possible|true)\b"
    r"|\bwhere (?:can|do|does|are|should)\b|\bimprove\b|\bin general\b"
    r"|\bthreshold|\bstandard|\bregulation|\bboil|\bfreez|\bconcept|\b(?:at|above|below|over|under"
    r"|until) (?:what|which)\b(?! time)|\bis there an?\b|\bstate of the art"
    r"|\bhistory of (?!last|this|the (?:last|past))|\bresearch",
    _I,
)
"""A question with one of these asks what documents know, whatever it names."""

DEFINITION = re.compile(
    r"(?:是|叫)(?:个)?(?:什么|啥)(?!时候|情况)|什么是|啥是|\bwhat(?:'s|’s|s| is| are)\s+(?!the\b|our\b|my\b"
    r"|today|yesterday|this\b|last\b|its\b)",
    _I,
)
"""Asks what a thing is, unless a time, a sensor or an aggregate is named."""

STATEMENT = re.compile(
    r"^(?:我(?!想|要看|要查|要知)|我们(?!想|要)|i (?!want|need|would|'d)|we (?!want|need)|please (?:set|turn"
    r"|stop|start|send|open|close))",
    _I,
)

FILLER = re.compile(
    r"什么时候|啥时候|哪个?时候|何时|几点|哪一?天|哪[个些里]|每[天日周月]|每小时|逐[日时]|没有?|[到过]|把|发给?我"
    r"|大概|大约|左右|究竟|到底|曾经?|都|还|又|也|出现|百分之|来?一?[份张]|图表?|表格?|水里|水中|水体?"
    r"|有什么|什么样|池塘|鱼塘|池子|水池|请问|请|帮我|帮忙|麻烦|能否|能不能|可以|可否|一下|我想|我要|的|了|吗"
    r"|呢|吧|啊|呀|在|是|有|和|与|及|以及|那|这|个|里|中|时|间|处|它|这里|那里|所有|全部|各|每|两|现有|数|点"
    r"|度|值|量|号|池|塘"
    r"|\b(?:s|d|ll|ve|re|please|can|could|would|you|me|us|i|the|a|an|of|in|at|for|from|on|to|and|is|was|were|are|be|been"
    r"|what|how|it|there|all|any|do|does|did|with|by|per|each|every|over|during|between|when|where|which|we|our|my|your|that|these|those|this|have|had|has|got|get|saw|seen|look"
    r"|looks|looked|like|doing|going|recorded|measured|observed|logged|so|far|as|or|versus|vs|ponds?|tanks?|water"
    r"|much|any|some|ever|still|just|hey|hi|ok|time|hour|day|point)\b"
    r"|[\W_]+|\d+",
    _I,
)
"""What may stand beside a metric and a time without making it more than a request for readings."""


def aggregates_of(text: str) -> tuple[list[Aggregate], str]:
    """What is asked for, in the order above, and ``text`` without those words."""
    found = []
    for aggregate, pattern in AGGREGATES:
        if pattern.search(text):
            found.append(aggregate)
            text = pattern.sub(" ", text)
    return found, text
