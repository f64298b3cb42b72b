"""A history to summarise, to date and to compare: conversations of another platform that passed through."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tertulia import Message, Role, Status
from tertulia.store import conversations, messages
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.models import ConversationDraft
from tests.client.platforms.local.talk import Talk, day

ACME = (
    "Hi, hope you're doing well! I wanted to pick up the renewal with Acme. Their contract ends on 31 May and Dana "
    "from their procurement has asked for a new offer.",
    "Happy to help. Acme currently pays 48,000 € a year for 120 seats on the Business plan. Do you want to keep these "
    "terms, or is there pressure on the price?",
    "There's pressure. Dana says Initech offered them 15 % less.",
    "I would suggest:\n\n1. Offer 8 % off for a two-year commitment.\n2. Include Premium support at no cost.\n\n"
    "```\nprint('8 % off was decided')\n```\nWhat do you think?",
    "I like that. But 8 % needs Petra's approval, she signs off on everything above 5 %.",
    "Understood. I'll draft a note to Petra that compares the margin at 5 % and 8 %.",
    "Petra approved the 8 % this morning, on the condition that they sign before 15 April.",
    "Great news! Then the offer is: 8 % off, two years, Premium support in the first year. We will send it to Dana by "
    "Friday. Shall I write the mail?",
    "Yes please. Keep it short.",
    "Here is a draft:\n\n> Dear Dana, we have decided to offer you 8 % off.\n\nShould I send it as it is?",
    "Looks good, send it.",
    "Sent. I will remind you on 10 April if there is no answer from Dana.",
)
OUTAGE = (
    "Acme is angry about the outage. Dana wrote that two tickets were not answered within the SLA.",
    "I see four tickets by Acme. The support rota had only one person that night.",
    "We have to offer them something. Perhaps Premium support for a while.",
    "Premium support for Acme would cost us about 3,000 € a year. I will prepare the post-mortem by Thursday.",
)
DEPLOY = (
    "the deploy to staging failed again, can you look at the logs?",
    "The migration timed out after 300 seconds. It builds an index on the events table inside a transaction.",
    "then we build the index concurrently, on Monday night. Marta is on call.",
    "Agreed. I'll schedule the deploy and tell Marta.",
)
BUDGET = (
    "你好，我们来总结一下昨天的预算会议。",
    "好的。会议讨论了三件事：市场预算、招聘计划和新办公室的租金。",
    "市场部要求把明年的预算增加到两百万元，财务部不同意。",
    "最后决定市场预算增加百分之十，也就是一百六十五万元，从一月开始执行。",
)


async def enter(
    here: Talk,
    known: str,
    title: str | None,
    texts: Sequence[str],
    *,
    start: str = "2026-03-02",
    apart: timedelta = timedelta(hours=9),
    principal: str | None = None,
    status: Status = Status.OPEN,
    kind: str | None = None,
) -> None:
    """Enter a conversation in which the user and an agent speak by turns, from noon of `start` on."""
    owner = here.client.principal if principal is None else principal
    instance, _, native_id = known.partition(":")
    at: datetime = day(start)

    def work(tx: Transaction) -> None:
        draft = ConversationDraft(agent=f"{instance}:agent", native_id=native_id, title=title)
        conversations.insert(tx, owner, known, draft, status)
        for number, text in enumerate(texts):
            author, role = (f"{instance}:agent", Role.ASSISTANT) if number % 2 else ("user", Role.USER)
            message = Message(
                id=f"m{number}",
                conversation_id=known,
                author=author,
                role=role,
                text=text,
                type=kind,
                created_at=at + number * apart,
            )
            messages.add(tx, owner, message)

    async with Store(here.path) as store:
        await store.write(work)


async def enter_all(here: Talk) -> None:
    """Enter the whole history."""
    await enter(here, "r2r:acme", "Renewal with Acme", ACME)
    await enter(here, "r2r:outage", "The outage", OUTAGE, start="2026-02-20")
    await enter(here, "r2r:deploy", None, DEPLOY, start="2026-04-10")
    await enter(here, "r2r:budget", "预算会议", BUDGET, start="2026-04-12")
