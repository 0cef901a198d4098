"""When a claim that nobody answers is given up: by default never. Alone, because a program that only sends loads no consumer."""


def never() -> bool:
    """Answer False: a claim that is never given up."""
    return False
