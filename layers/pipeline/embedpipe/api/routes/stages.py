"""Controls of stages: pause, resume, drain."""

from __future__ import annotations

from collections.abc import Iterable

from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.stage_answers import (
    ControlAnswer,
    ControlProblem,
    ControlRequest,
    ControlsAnswer,
)
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import CONTROLLED, STAGES, Control, ControlAction
from embedpipe.errors import PipelineError
from embedpipe.stages.controls import align, drained_stages

stages = Noun("stages")

NOT_SWITCHED = "event source mapping not switched; the functions hand messages back"


@stages.get(
    "/embeddings/stage/control",
    "Say what each stage is let do",
    answer=ControlsAnswer,
    is_for_admins=True,
)
def get_stage_control(call: Call) -> Reply:
    """Give the control of every stage, and whether one that drains has run empty."""
    return Reply(_described(call, []))


@stages.post(
    "/embeddings/stage/control",
    "Pause, resume or drain a stage",
    answer=ControlsAnswer,
    body=ControlRequest,
    is_for_admins=True,
)
def control_stage(call: Call, body: ControlRequest) -> Reply:
    """Set a control, or all; once more the same changes nothing.

    A paused stage receives nothing within 10 seconds, and finishes what it holds. While one drains
    nothing is admitted (503 DRAINING), and all work until they are empty.

    What could not be switched is named in `problems`: the act holds all the same, as the functions
    hand back what comes; send it again.
    """
    names = CONTROLLED if body.stage == "all" else (body.stage,)
    action = ControlAction(body.action)
    actor = Actor(call.tenant_id, call.principal.key_id)
    for name in names:
        act = Act(actor, f"stage.{action}", name, body.note)
        call.services.database.controls.set(name, action, act)
    problems = _switch(call, names)
    return Reply(_described(call, problems), warnings=(NOT_SWITCHED,) if problems else ())


def _switch(call: Call, names: Iterable[str]) -> list[ControlProblem]:
    """Have functions received for as their controls say: after the commit, as it may fail."""
    sources, problems = call.services.event_sources, []
    if sources is None:
        return []
    for name in set(names) & set(STAGES):
        try:
            align(name, call.services.database.controls, sources)
        except PipelineError as error:
            problems.append(ControlProblem(stage=name, code=error.code))
    return sorted(problems, key=lambda one: one.stage or "")


def _described(call: Call, problems: list[ControlProblem]) -> ControlsAnswer:
    found = call.services.database.controls.all()
    problems = list(problems)
    drained = _drained(call, found, problems)
    mappings = _event_sources(call, problems)
    return ControlsAnswer(
        stages={
            one.stage: ControlAnswer.model_validate(
                {
                    "state": one.state.value,
                    "changed_by": one.changed_by,
                    "changed_at": one.changed_at,
                    "note": one.note,
                    "drained": one.stage in drained,
                    "event_source": mappings.get(one.stage),
                }
            )
            for one in found
        },
        problems=problems,
    )


def _drained(call: Call, found: list[Control], problems: list[ControlProblem]) -> set[str]:
    services = call.services
    try:
        return drained_stages(found, services.database.controls, services.queues)
    except PipelineError as error:
        # Who asks whether a stage is paused is to be told, whatever the queues do.
        problems.append(ControlProblem(stage=None, code=error.code))
        return set()


def _event_sources(call: Call, problems: list[ControlProblem]) -> dict[str, str]:
    if call.services.event_sources is None:
        return {}
    try:
        return dict(call.services.event_sources.states())
    except PipelineError as error:
        if all(problem.code != error.code for problem in problems):
            problems.append(ControlProblem(stage=None, code=error.code))
        return {}
