"""Decisions on an actor's failure: here the strategies are asked, and the answer is made known.

Wherever it comes from (a handler, a setup, a task, an adapter, a hook, an escalating child), a failure is judged once,
here: by the actor's strategies, and without any of them it is a stop. It is logged with path and traceback and
published as `ActorFailed`, whatever follows.
"""

from __future__ import annotations

import logging

from casty.errors import ActorStoppedError, RestartRequested
from casty.protocol.actor.supervision import Decision, Directive, RestartBudget, decide
from casty.runtime.actor.actor_ports import SupervisedActor
from casty.runtime.actor.life import FailureDecision
from casty.runtime.events import ActorFailed, ActorRestarted
from casty.runtime.messaging.ask import refuse_asks
from casty.runtime.messaging.mailbox import NOTHING, payload

logger = logging.getLogger("casty.actor")

STOP_DECISION = Decision(Directive.stop)


def decide_failure(cell: SupervisedActor, error: Exception) -> FailureDecision:
    """Ask the strategies of an actor that goes on, at least so far; log and publish the outcome."""
    verdict = _judge(cell, error, cell.own_budget(), final=cell.stop_requested)
    if verdict.is_final:
        cell.record_failure(verdict)
    return verdict


def restart_by_choice(cell: SupervisedActor) -> FailureDecision:
    """Return the decision after a handler's answer ``restart``: no failure, and no part of the budget."""
    return FailureDecision(RestartRequested(f"{cell.path} asked for a restart"), Decision(Directive.restart))


def fail_late(cell: SupervisedActor, error: Exception) -> None:
    """Take in a failure of an actor whose fate is decided already; it can still be escalated."""
    verdict = _judge(cell, error, RestartBudget(), final=True)
    if cell.stopping or cell.is_condemned:
        cell.record_failure(verdict)


def escalate(cell: SupervisedActor) -> None:
    """Make the failures of an ended actor those of its parent, or of the system."""
    parent = cell.parent
    for error in cell.escalated or ():
        if parent is None:
            cell.kernel.on_escalation(error)
        else:
            parent.fail_from_outside(error)


def refuse_in_hand(cell: SupervisedActor, verdict: FailureDecision | None) -> None:
    """Tell the askers of the message in hand, and of all messages taken by a main: they get no reply."""
    message, taken = payload(cell.life.let_go()), cell.life.taken
    stopped = ActorStoppedError(f"{cell.path} was stopped with the request in hand")
    error = stopped if verdict is None else verdict.error
    if message is not NOTHING and (taken is None or taken.find(message) is None):
        refuse_asks(cell.kernel, message, error)
    if taken is not None:
        taken.refuse(error)


def tell_restart(cell: SupervisedActor, cause: Exception) -> None:
    """Tell listeners and subscribers of a restart."""
    kernel = cell.kernel
    if kernel.listeners.entries:
        kernel.listeners.restarted(cell.ref, cause)
    if kernel.event_stream.wants(ActorRestarted):
        kernel.event_stream.publish(ActorRestarted(cell.ref, cause))


def report_cut(cell: SupervisedActor, what: str, *, is_late: bool = False) -> None:
    """Log the cancellation of a step of an actor: it took too long, or got no time at all."""
    if is_late:
        logger.error("%s of actor %s was cancelled: the shutdown is over its bound", what, cell.path)
        return
    seconds = cell.kernel.config.stop_timeout
    logger.error("%s of actor %s did not end within %s s and was cancelled", what, cell.path, seconds)


def _judge(cell: SupervisedActor, error: Exception, budget: RestartBudget, *, final: bool) -> FailureDecision:
    try:
        decision = decide(cell.life.strategies or (), error, budget, cell.kernel.now(), cell.kernel.rng)
    except Exception as broken:  # the strategy is the user's code: its own failure is one that stops
        broken.__context__ = error
        error, decision = broken, STOP_DECISION
    if decision.directive is Directive.resume and (final or not cell.life.is_resumable):
        decision = STOP_DECISION
    elif decision.directive is Directive.restart and final:
        decision = STOP_DECISION
    _report(cell, error, decision)
    return FailureDecision(error, decision)


def _report(cell: SupervisedActor, error: Exception, decision: Decision) -> None:
    kind = type(error).__name__
    match decision.directive:
        case Directive.stop:
            logger.error("actor %s failed and stops: %s", cell.path, kind, exc_info=error)
        case Directive.escalate:
            logger.error("actor %s failed and escalates: %s", cell.path, kind, exc_info=error)
        case Directive.restart:
            delay = decision.delay
            logger.warning("actor %s failed and restarts in %.3f s: %s", cell.path, delay, kind, exc_info=error)
        case Directive.resume:
            logger.warning("actor %s failed and goes on: %s", cell.path, kind, exc_info=error)
    if cell.kernel.listeners.entries:
        cell.kernel.listeners.failed(cell.ref, error)
    if cell.kernel.event_stream.wants(ActorFailed):
        cell.kernel.event_stream.publish(ActorFailed(cell.ref, error))
