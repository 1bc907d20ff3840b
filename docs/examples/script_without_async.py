"""Actors in a script without any async. Look at `main`: the system runs in a thread, behind a `with` block."""

from __future__ import annotations

from dataclasses import dataclass

from casty import ActorContext, ActorRef, ActorSystem, AskTimeoutError, Behaviors, Inbox, embed


@dataclass(frozen=True)
class Seen:
    """Count a word."""

    word: str


@dataclass(frozen=True)
class GetCounts:
    """Tell ``reply_to`` how often each word was seen."""

    reply_to: ActorRef[dict[str, int]]


async def count_words(ctx: ActorContext[Seen | GetCounts], inbox: Inbox[Seen | GetCounts]) -> None:
    """Count; the actor is the only one that touches the counts."""
    counts: dict[str, int] = {}
    async for message in inbox:
        match message:
            case Seen(word):
                counts[word] = counts.get(word, 0) + 1
            case GetCounts(reply_to):
                reply_to.tell(dict(counts))


def main() -> None:
    """Tell and ask; every thread of the script may do so."""
    with embed.start(lambda: ActorSystem("words")) as app:
        words = app.spawn(Behaviors.task(count_words), "words")
        for word in ("to", "be", "or", "not", "to", "be"):
            app.tell(words, Seen(word))
        counts = app.ask(words, GetCounts)
        print("counts:", counts)
        assert counts == {"to": 2, "be": 2, "or": 1, "not": 1}

        silent = app.spawn(Behaviors.ignore(), "silent")
        try:
            app.ask(silent, GetCounts, timeout=0.1)
        except AskTimeoutError as error:
            print("errors cross the thread:", error)


if __name__ == "__main__":
    main()
