"""Training programs in six libraries, healthy ones and ones with a planted fault."""

from idjax import diagnose_loss
from programs.faults import PLANTED
from programs.healthy import HEALTHY
from programs.shape import MadeProgram

PROGRAMS = {**HEALTHY, **PLANTED}


def judged(made: MadeProgram) -> str:
    """What a diagnosis says wrongly: another first cause than the true one, or any in a healthy program."""
    try:
        found = diagnose_loss(made.loss, made.params, *made.args, **(made.settings or {}))
    except Exception as error:  # every failure is an answer that is wrong
        return f"{type(error).__name__}: {error}"
    causes = [finding.code for finding in found.causes]
    if not made.codes:
        return found.verdict if found.findings else ""
    return "" if causes[:1] and causes[0] in made.codes else f"{causes}: {found.verdict}"
