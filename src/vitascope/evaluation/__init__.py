"""How good a model is, measured: its codec, its text tower, and whether its films show what was asked for."""

from __future__ import annotations

from vitascope.evaluation.adherence import Adherence, Obeyed, Reading, Share, adherence
from vitascope.evaluation.fidelity import Fidelity, fidelity, psnr
from vitascope.evaluation.lessons import train_probe
from vitascope.evaluation.probe import ENOUGH, Probe, ProbeConfig, Schooling
from vitascope.evaluation.report import Result, evaluate, probe_for
from vitascope.evaluation.retrieval import Found, Retrieval, retrieval
from vitascope.evaluation.scenes import SPLITS, Split, scenes

__all__ = [
    "ENOUGH",
    "SPLITS",
    "Adherence",
    "Fidelity",
    "Found",
    "Obeyed",
    "Probe",
    "ProbeConfig",
    "Reading",
    "Result",
    "Retrieval",
    "Schooling",
    "Share",
    "Split",
    "adherence",
    "evaluate",
    "fidelity",
    "probe_for",
    "psnr",
    "retrieval",
    "scenes",
    "train_probe",
]
