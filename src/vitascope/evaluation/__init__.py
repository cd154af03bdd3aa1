"""How good a model is, measured: its codec, its text tower, and its films: whether they show what was asked for, keep still
what should, obey the laws of motion, are as varied as true films, and are no copies; and how all of this can be steered."""

from __future__ import annotations

from vitascope.evaluation.adherence import Adherence, Obeyed, Reading, adherence
from vitascope.evaluation.continuity import Continuity, continuity
from vitascope.evaluation.curves import Curves, measure_curves
from vitascope.evaluation.distribution import Distribution, Diversity, distribution, diversity
from vitascope.evaluation.fidelity import Fidelity, fidelity, psnr
from vitascope.evaluation.films import Shown, show
from vitascope.evaluation.laws import Laws, laws
from vitascope.evaluation.lessons import train_probe
from vitascope.evaluation.memory import Memory, memory
from vitascope.evaluation.page import page
from vitascope.evaluation.probe import ENOUGH, Probe, ProbeConfig, Schooling
from vitascope.evaluation.report import Result, evaluate, probe_for
from vitascope.evaluation.retrieval import Found, Retrieval, retrieval
from vitascope.evaluation.scenes import SPLITS, Split, scenes
from vitascope.evaluation.share import Share

__all__ = [
    "ENOUGH",
    "SPLITS",
    "Adherence",
    "Continuity",
    "Curves",
    "Distribution",
    "Diversity",
    "Fidelity",
    "Found",
    "Laws",
    "Memory",
    "Obeyed",
    "Probe",
    "ProbeConfig",
    "Reading",
    "Result",
    "Retrieval",
    "Schooling",
    "Share",
    "Shown",
    "Split",
    "adherence",
    "continuity",
    "distribution",
    "diversity",
    "evaluate",
    "fidelity",
    "laws",
    "measure_curves",
    "memory",
    "page",
    "probe_for",
    "psnr",
    "retrieval",
    "scenes",
    "show",
    "train_probe",
]
