"""Faults in the resources of a deployment: CPUs, memory and GPU, each and together."""

from __future__ import annotations

from tests.unit.config_cases.builders import ASSISTANT, Case
from tests.unit.config_sources import good

CASES: dict[str, Case] = {
    "CPUs that do not exist": (
        good(resources={"cpu": 3}),
        f"{ASSISTANT}.resources.cpu",
        "3",
        "no number",
        "1, 2, 4",
    ),
    "CPUs zero": (
        good(resources={"cpu": 0}),
        f"{ASSISTANT}.resources.cpu",
        "0",
        "below 1",
        "at least 1",
    ),
    "CPUs in quotes": (
        good(resources={"cpu": "2"}),
        f"{ASSISTANT}.resources.cpu",
        '"2"',
        "whole number",
        "quotes: 2",
    ),
    "memory in decimal units": (
        good(resources={"memory": "4GB"}),
        f"{ASSISTANT}.resources.memory",
        '"4GB"',
        "not an amount of memory",
        "4Gi",
    ),
    "memory a number": (
        good(resources={"memory": 4}),
        f"{ASSISTANT}.resources.memory",
        "4",
        "not text",
        "in quotes",
    ),
    "memory too small for the model": (
        good(resources={"memory": "1Gi"}),
        f"{ASSISTANT}.resources.memory",
        '"1Gi"',
        "too small (weights",
        "set memory to 3Gi",
    ),
    "memory below Cloud Run's": (
        good(resources={"memory": "256Mi"}),
        f"{ASSISTANT}.resources.memory",
        '"256Mi"',
        "outside 512Mi to 32Gi",
        "3Gi",
    ),
    "memory above Cloud Run's": (
        good(resources={"memory": "64Gi"}),
        f"{ASSISTANT}.resources.memory",
        '"64Gi"',
        "outside 512Mi to 32Gi",
        "3Gi",
    ),
    "too few CPUs for the memory": (
        good(resources={"cpu": 1, "memory": "16Gi"}),
        f"{ASSISTANT}.resources.cpu",
        "1",
        "16Gi of memory needs at least 4",
        "set cpu to 4",
    ),
    "too few CPUs for the model": (
        good(model="google/flan-t5-large", resources={"cpu": 1}),
        f"{ASSISTANT}.resources.cpu",
        "1",
        "5Gi of memory needs at least 2",
        "set cpu to 2",
    ),
    "too little memory for the CPUs": (
        good(resources={"cpu": 8, "memory": "3Gi"}),
        f"{ASSISTANT}.resources.memory",
        '"3Gi"',
        "8 CPUs need at least 4Gi",
        "4Gi",
    ),
    "GPU unknown": (
        good(resources={"gpu": "l4"}),
        f"{ASSISTANT}.resources.gpu",
        '"l4"',
        "not a valid",
        "nvidia-l4",
    ),
    "GPU with too few CPUs": (
        good(resources={"gpu": "nvidia-l4", "cpu": 2}),
        f"{ASSISTANT}.resources.cpu",
        "2",
        "nvidia-l4 needs at least 4",
        "set cpu to 4",
    ),
    "GPU with CPUs that do not exist": (
        good(resources={"gpu": "nvidia-l4", "cpu": 5}),
        f"{ASSISTANT}.resources.cpu",
        "5",
        "no number of CPUs",
        "4, 6, 8",
    ),
    "GPU with too little memory": (
        good(resources={"gpu": "nvidia-l4", "memory": "8Gi"}),
        f"{ASSISTANT}.resources.memory",
        '"8Gi"',
        "at least 16Gi",
        "16Gi",
    ),
    "GPU with too much memory": (
        good(resources={"gpu": "nvidia-l4", "memory": "64Gi"}),
        f"{ASSISTANT}.resources.memory",
        '"64Gi"',
        "at most 32Gi",
        "32Gi",
    ),
    "GPU not in the region": (
        {**good(resources={"gpu": "nvidia-l4"}), "gcp:region": "us-west1"},
        f"{ASSISTANT}.resources.gpu",
        "nvidia-l4",
        "not offered by Cloud Run in us-west1",
        "us-central1",
    ),
}
