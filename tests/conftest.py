"""What every test file may use: the folder of real traces, and Hypothesis profiles."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline anywhere: a shared machine makes an honest test slow, and a timed assertion lie.
settings.register_profile("dev", deadline=None, max_examples=20)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=100,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "night", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def traces_folder() -> Path:
    """Real traces: $TRACEKIT_TRACES, or `../shared/traces` beside the checkout; else a skip."""
    stated = os.environ.get("TRACEKIT_TRACES")
    folder = Path(stated) if stated else ROOT.parent / "shared" / "traces"
    if not folder.is_dir():
        pytest.skip(f"no real traces: set TRACEKIT_TRACES ({folder.name} is not a folder here)")
    return folder


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in sample, written once a session; tests only read it."""
    from tracekit.sample import write_sample

    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder
