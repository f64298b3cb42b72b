"""Words that show what kind of sentence they are in: a decision, a promise, a date.

They are of English, German, French, Spanish, Portuguese, Italian, Russian, Chinese and Japanese. Amounts, dates in
figures and question marks are recognised in any language.
"""

import re

_FLAGS = re.IGNORECASE | re.VERBOSE

DECISION = re.compile(
    r"""
    \b(?: agree[ds]? | agreement | decided | decisions? | approved? | settled | conclu(?:ded?|sion) | resolved
        | confirmed | signed | accepted | rejected | chose(?:n)? | go(?:ing)?\ with | went\ with | outcome
        | beschl(?:ossen|uss) | vereinbar(?:t|ung) | entsch(?:ieden|eidung) | geeinigt | einigten | genehmigt
        | abgelehnt
        | convenu | décidé | décision | validé | accepté | refusé
        | acordad[oa]s? | acordamos | acuerdo | acordo | decidi(?:do|mos|ó|u) | decisi[óo]n | decisão | aprobad[oa]
        | aprovad[oa] | deciso | decisione | concordato | accordo | approvato
        | решил[аи]? | решено | решение | договорились | согласован[оы]? | утвержд[её]н[оы]?
    )\b
    | 决定 | 決定 | 同意 | 批准 | 承認 | 合意
    """,
    _FLAGS,
)
PROMISE = re.compile(
    r"""
    \b(?: (?:i|we|he|she|they)(?:['’]ll|\ will|\ shall)\ \w+ | promis(?:e[ds]?|ing) | commit(?:ted|ment)?
        | guarantee[ds]? | deadline | due | must | by\ (?:mon|tues|wednes|thurs|fri|satur|sun)day | by\ tomorrow
        | by\ (?:the\ )?end\ of | action\ items? | next\ steps? | to-?do
        | verspr(?:ochen|echen|icht) | zugesagt | zusage | frist | spätestens | bis\ (?:zum\ )?\w+(?:tag|woch)
        | prom(?:et|ets|is|esse) | engageons | échéance | d['’]ici
        | promet\w+ | promes\w+ | compromis\w* | plazo | prazo | promesso | scadenza | entro
        | обеща\w+ | срок | до\ конца
    )\b
    | 承诺 | 保证 | 約束 | 保証 | 截止 | 締め切り
    """,
    _FLAGS,
)
_MONTHS = r"""
    jan(?:uary|uar)? | feb(?:ruary|ruar)? | mar(?:ch|z)? | märz | apr(?:il)? | mai | june? | juni | july? | juli
    | aug(?:ust)? | sept?(?:ember)? | o[ck]t(?:ober)? | nov(?:ember)? | de[cz](?:ember)?
    | janvier | février | mars | avril | juin | juillet | août | septembre | octobre | novembre | décembre
    | enero | febrero | marzo | abril | mayo | junio | julio | agosto | septiembre | octubre | noviembre | diciembre
"""
MONTH = re.compile(rf"(?:{_MONTHS})\b", _FLAGS)
FIGURE = re.compile(
    rf"""
    \b \d{{4}}-\d\d(?:-\d\d)? \b | \b \d{{1,2}} [./] \d{{1,2}} (?: [./] \d{{2,4}} )? \b
    | \b (?:{_MONTHS}) \b \.? \s \d | \d \.? \s (?:de\s)? (?:{_MONTHS}) \b
    | [$€£¥₹] \s? \d | \d \s? (?: % | ٪ | € | \$ | £ | ¥ | ₹ | eur\b | usd\b | k\b )
    | \b \d{{1,3}} (?: [,.]\d{{3}} )+ \b
    | \b \d+ \s (?: (?:day|week|month|year|hour)s? | tagen? | wochen? | monaten? | jahren? | jours? | semaines? | mois
        | días? | semanas? | mes(?:es)? | dias? | giorni | дн(?:я|ей) | недел[ьи] ) \b
    | \b (?: (?:mon|tues|wednes|thurs|fri|satur|sun)day | montag | dienstag | mittwoch | donnerstag | freitag ) \b
    | \d \s? [年月日号號]
    """,
    _FLAGS,
)
QUESTION = re.compile("[?？؟\u037e][\"'”’)\\s]*$")

FUNCTION_WORDS = frozenset(
    """
    a about above actually after again all almost already also although always am an and another any anyway are around
    as at away back be because been before being below between both but by can cannot come could did do does doing done
    don down each either else enough even ever every few first for from further get gets getting go goes going gone got
    had has have having he hello her here hers hi him his how however i if in instead into is it its itself just keep
    kind last least less let like ll lot made make many may maybe me might mine more most much must my need needs never
    new next no nor not now of off ok okay on once one only onto or other our ours out over own perhaps please put
    quite rather re really said same say see she should since so some something soon still such sure take than thank
    thanks that the their theirs them then there these they thing things think this those though through to today
    together too two under until up upon us use used very via want was way we well were what when where whether which
    while who whom whose why will with within without would yes yet you your yours ve isn aren wasn weren doesn didn
    hasn haven hadn won wouldn shouldn couldn ain
    aber alle als am an auch auf aus bei bin bis bist da damit dann das dass dem den der des die dies diese dieser
    dieses doch du durch ein eine einem einen einer eines er es etwas euch für gegen hab habe haben hat hatte ich ihm
    ihn ihr ihre im in ins ist ja jede jeder jetzt kann können man mehr mein mich mir mit muss nach nein nicht noch nun
    nur ob oder ohne schon sehr sein seine sich sie sind so soll über um und uns unser unter vom von vor war waren was
    weil wenn wer werden wie wieder wir wird wo zu zum zur
    au aux avec ce ces cet cette comme dans de des donc du elle elles en encore est et être eu il ils je la le les leur
    lui ma mais me même mes moi mon ne nos notre nous on ou où par pas plus pour qu que qui sa sans se sera ses si son
    sont sur ta te tes toi ton tu un une vos votre vous été était
    al como con cuando da del desde el ella ellos eles em entre era esa ese eso esta está estas este esto ha hay isso
    la las lo los mas más me mi muito muy na não nem no nos nosotros o os para pela pelo pero por porque que quem se sem
    ser si sí sin sobre su sua são também também te tiene todo tu um uma un una uno você y ya yo
    che chi ci cui dei della delle di e gli ho il io loro ma nel nella noi non per perché più questo questa sono suo
    tra
    а без бы был была были было в вам вас вы где да для до его ее ещё же за и из или им их к как когда ли мне мы на не
    нет ни но о об он она они от по при с так также там то тоже только ты у уже что чтобы это я
    """.split()
)
"""The words of which any sentence is built: they say nothing about its subject."""
