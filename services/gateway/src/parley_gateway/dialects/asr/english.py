"""English: inversion, question words in question order, indirect questions, imperatives that ask for information."""

import re

_WH = r"(?:what|who|whom|whose|which|where|when|why|how)"
_BE = r"(?:is|are|was|were|am|isn't|aren't|wasn't|weren't)"
_DO = r"(?:do|does|did|don't|doesn't|didn't)"
_MODAL = r"(?:can|could|will|would|should|shall|might|must|can't|couldn't|won't|wouldn't|shouldn't)"
_HAVE = r"(?:have|has|had|haven't|hasn't|hadn't)"
_AUX = rf"(?:{_BE}|{_DO}|{_MODAL}|{_HAVE})"
_PRONOUN = r"(?:i|you|he|she|it|we|they|there|this|that|these|those|x)"
_SOME = r"(?:any\w*|some(?:one|body|thing)|every(?:one|body|thing)|people|no ?one|nobody)"
_DETERMINER = r"(?:the|a|an|my|your|our|his|her|their|its|all|both|each)"

_BEGINS = re.compile(rf"^{_WH}\b")

_FILLER = re.compile(
    r"^(?:(?:um+|uh+|er+m?|hm+|so|well|ok|okay|and|but|or|oh|hey|hi|hello|yeah|yes|no|now|then|right|alright"
    r"|sorry|please"
    r"|actually|anyway|thanks|thank you|excuse me|by the way|good (?:morning|evening|afternoon)|just|also"
    r"|kindly|like(?! what)"
    r"|if possible|first|great|fine|sure)\b\s*)+(?=\S)"
)
_TAG = re.compile(
    rf"\s+(?:{_AUX}(?: not)? (?:i|you|he|she|it|we|they|there)|right|okay|ok|yeah|huh|eh|correct|innit|you know"
    rf"|you see|don't you (?:think|agree)|wouldn't you (?:say|agree)|am i right|is that right)$"
)
_BARE_TAG = re.compile(
    rf"^(?:{_AUX}(?: not)? (?:i|you|he|she|it|we|they|there)|right|okay|ok|yeah|huh|eh|correct|you know|you see"
    rf"|don't you (?:think|agree)|am i right)$"
)
_PHRASES = re.compile(
    r"^(?:really|oh really|is that so|is that right|for real|seriously|what|you know what|you know|you see|guess what"
    r"|what was i saying|what was i going to say|what's it called|what do you call it|how (?:do|should|shall"
    r"|can) (?:i|you|we)"
    r" (?:say|put) (?:it|this|that)?|how do you say|whatever|so what|i wonder|let me (?:see|think)|i see"
    r"|who (?:cares|knows|would have (?:thought|known|guessed))|who am i to .*|why bother.*|how dare .*"
    r"|what do i care.*"
    r"|what(?:'s| is) the (?:point|use|big deal)|what else is new|how (?:should|would) i know"
    r"|are you (?:kidding|serious|joking)"
    r"(?: me)?|what(?:'s| is) done is done|what can i say|what can you do about it|how about that|you don't say"
    r"|does it (?:even |really )?matter|is what it is|what did you expect|tell me about it|why me|what the \w+)$"
)
_EXCLAMATION = re.compile(r"^(?:what an? |how (?:very )?\w+(?: of (?:you|him|her|them|it|us|me))?$)")
_ASKING_HOW = re.compile(r"^how (?:much|many|so|come|long|far|old|often|big|late|deep|high|tall|soon|fast|to|about)\b")
_RELATIVE = re.compile(
    r"^which (?:is|was) (?:why|fine|good|okay|ok|great|nice|what|how|when|where|because|not|a |the reason)"
)
_OPEN = re.compile(
    rf"^(?:what|how) (?:about|if|else|come|so)\b|^why not\b|^how to\b|^{_WH}$|^(?:like|such as) what$"
    r"|^for (?:example|instance)$|^such as$|^(?:any|anyone|anybody) (?:idea|chance|news|word|updates?|luck"
    r"|thoughts|reason"
    r"|progress|home|here|there|know|knows|seen|got|have|heard|understand|else|questions?|clue|hints?)\b"
)
_WH_AUX = re.compile(rf"^{_WH}(?:'s|'re|'d|'ll|s)? ?(?:(?!(?:i|you|he|she|we|they|it)\b)[\w'-]+ ){{0,4}}?{_AUX}\b")
_WH_CONTRACTED = re.compile(rf"^(?:{_WH}'(?:s|re|d|ll|ve)|whats|wheres|hows|whos|whens|whys)\b ?\w")
_WH_SUBJECT = re.compile(
    r"^(?:who|what|which|whose|how (?:many|much))\b (?!(?:i|you|he|she|we|they|it|the|this|that)\b)\w+"
)
_OF_THESE = re.compile(r"^which (?:one|ones|of (?:the|these|those|them|my|your|our))\b")
_WH_CLAUSE = re.compile(rf"^{_WH} (?:i|you|he|she|we|they|it|the|this|that|there|my|your|our|his|her|their)\b")
_DID_IT = re.compile(r"^(?:who|what) (?:did|does|is|was|has|had) (?:it|this|that|\w+ed)\b.* (?:is|was)\b")
_SUBORDINATE = re.compile(r"\b(?:if|when|while|because|that|which|who|before|after|once|until|since|as)\b.*")
_MATTERS = re.compile(r"^what \w*(?<!news)[^sua\W]s (?:is|was)\b")
_LATER_BE = re.compile(r"^\S+ \S+ (?:.*\s)?(?:is|are|was|were)\b")
_PREPOSITION = re.compile(
    rf"^(?:at|in|on|to|for|from|since|by|until|till|with|under|through|about|of|into|during) {_WH}\b.*\b{_AUX}\b"
)
_INVERTED = re.compile(
    rf"^(?:{_BE} (?!{_WH}\b|not\b|to\b)\S+ \S+"
    rf"|(?:is|are|was|were|isn't|aren't|wasn't) (?:it|that|this|there|he|she|you|they|we) \S+|am i \S+"
    rf"|(?:does|doesn't) \S+ \S+|did(?:n't)? (?:{_PRONOUN}|{_SOME}) \S+|did(?:n't)? {_DETERMINER} \w+ \w+"
    rf"|did [a-z]+ [a-z]+ \w+"
    rf"|do(?:n't)? (?:i|you|we|they|these|those|x|{_SOME}) (?!dare\b)\S+|do(?:n't)? (?:the|my|our|your"
    rf"|all) \w+s (?!now|again|first|please|today)\w+"
    rf"|{_MODAL} (?:{_PRONOUN}|{_SOME}) \S+|{_MODAL} {_DETERMINER} \w+ \S+|may (?:i|we) \S+"
    rf"|(?:has|hasn't|haven't|hadn't) \S+ \S+|(?:have|had) (?:i|you|we|they|he|she|{_SOME}|these|those) \S+"
    rf"|have (?:the|my|your|our) \w+ (?:been|arrived|gone|come|got|\w+ed)\b)"
)
_MID_WH = re.compile(
    r"(?<!know)(?<!see)(?<!'s)(?<!is) (?:what|where|when|why|how|who|which)(?: (?:much|many|long|far|time|often))? "
    r"(?:is|are|was|were|do|does|did|can|could|will|would|should) "
    r"(?:i|you|he|she|it|we|they|this|that|the|there|my|your|our)\b"
)
_MID_YOU = re.compile(
    r"(?<!what)(?<!how)(?<!as)(?<!that)(?<!all) (?:can|could|would|do) you (?:please )?"
    r"(?:tell|help|explain|know|have|show|check|hear|see|find|look|repeat|say|confirm)\b"
)
_INDIRECT = re.compile(
    rf"\b(?:i(?:'m| am| was|'ve been| have been)? (?:just )?wonder(?:ing)? (?:if|whether|about|{_WH})"
    r"|i(?:'d| would| do)? (?:just |really |also )?(?:like|love|want|need|wish|have|hope)(?: to)? to? ?"
    r"(?:know|hear|learn|find out|ask|understand|figure out|inquire)\b"
    r"|(?:wanted|trying|try|like|need|help) to (?:know|find out|figure out|understand|learn|ask)\b"
    r"|i(?:'ve| have)(?: got)? (?:a|one|another|some|two) (?:quick |short )?questions?\b|(?:a|one|my"
    r"|quick) question (?:about|for|is)\b"
    r"|i (?:don't|do not|didn't) (?:know|understand|get|see|remember) (?:how|where|what|when|which \w+) to\b"
    r"|i (?:don't|do not|can't|cannot) (?:understand|figure out|get) (?:how|why|what|where|which)\b"
    rf"|(?:i'm|i am|we're|we are) (?:not|not quite|not really|un)(?: )?(?:sure|certain"
    rf"|clear) (?:about )?(?:{_WH}|whether|if)\b"
    r"|(?:no|have no|any) (?:idea|clue) (?:how|where|what|which|when)(?: \w+)? to\b|i(?:'m| am)(?: just)? curious\b"
    rf"|let (?:me|us) know (?:{_WH}|if|whether|the)\b|(?:i'm|i am|we're) looking for (?:the|a|an|some|information)\b"
    r"|(?:mind|care to) (?:telling|explaining|explain|share)\b|i was told to ask\b|remind me (?:what|where|when"
    r"|how|who|why)\b)"
)
_IMPERATIVE = re.compile(
    r"^(?:(?:can|could|would|will) (?:you|someone) )?(?:please )?(?:go ahead and )?"
    r"(?:tell (?:me|us)\b|explain\b(?! it to (?:him|her|them))|describe \w|summari[sz]e\b|compare \w|define \w"
    r"|outline \w|clarify\b|elaborate\b"
    r"|show (?:me|us) (?!out\b)\w|list (?:the|all|every|each|some|your|any|of|out|my|our|top|\d+|two|three|four"
    r"|five|ten|x)\b"
    r"|name (?:the|a|an|all|some|one|two|three|four|five|\d+)\b|find (?:the|a|an|out|me|all|any|my|x)\b"
    r"|look up \w|search (?:for )?\w"
    r"|recommend \w|suggest \w|check (?:the|if|whether|when|how|what|for|my|our|on|x)\b|analy[sz]e \w"
    r"|calculate \w|translate \w"
    r"|(?:walk|talk|guide|take) (?:me|us) through\b|teach (?:me|us) \w"
    r"|help (?:me|us) (?:to )?(?:understand|find|figure|choose|see|learn|decide|compare|check)\b"
    r"|(?:give|get|send|read|bring) (?:me|us) (?:a|an|the|some|more|all|your|\w+)(?: \w+)* (?:of|about|on"
    r"|regarding|for)\b"
    r"|give (?:me|us) (?:a|an|the|some|more|your|all) ?(?:\w+ )*(?:summary|list|overview|address|number"
    r"|details?|example|examples"
    r"|information|info|advice|tips?|price|prices|name|names|reason|reasons|status|update|idea|opinion"
    r"|definition|instructions?|directions|data|readings?)\b)"
)
_NOT_INFORMATION = re.compile(
    r"^(?:please )?(?:give|get|bring|send) (?:me|us) (?:a|an|the|some|one) (?:break|hand|minute|second|moment"
    r"|call|ride|lift|hug|glass|cup|bottle)\b"
)


def asks(clause: str, *, marked: bool = False, follows: bool = False) -> bool:
    """Whether a clause asks: lower case, without punctuation; words that are not English are ``x``."""
    text = " ".join(clause.split())
    if _PHRASES.match(text) or (follows and _BARE_TAG.match(text)):
        return False
    text = _FILLER.sub("", text)
    if _PHRASES.match(text) or _BARE_TAG.match(text):
        return False
    bare = text if _BEGINS.match(text) or _INVERTED.match(text) else _TAG.sub("", text)
    if bare != text:
        return _direct(bare) or _requests(bare)
    return marked or _direct(text) or _requests(text)


def _direct(text: str) -> bool:
    if _OPEN.search(text):
        return True
    if _EXCLAMATION.match(text) and not _ASKING_HOW.match(text):
        return False
    if _INVERTED.match(text) or _PREPOSITION.match(text) or _MID_WH.search(text) or _MID_YOU.search(text):
        return True
    return _wh(text)


def _wh(text: str) -> bool:
    """Question words in front: a question, or the subject of a statement ("what matters is ...")."""
    if _RELATIVE.match(text) or _WH_CLAUSE.match(text):
        return False
    main = _SUBORDINATE.sub("", text[1:])
    if _WH_CONTRACTED.match(text):
        return not re.search(r"'s \w+ (?:is|was)\b", text)
    if _OF_THESE.match(text):
        return True
    if _MATTERS.match(text) or _DID_IT.match(text):
        return False
    if _WH_AUX.match(text):
        return True
    return bool(_WH_SUBJECT.match(text)) and not _LATER_BE.match(main)


def _requests(text: str) -> bool:
    if _NOT_INFORMATION.match(text):
        return False
    return bool(_INDIRECT.search(text) or _IMPERATIVE.match(text))
