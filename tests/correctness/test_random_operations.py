"""Random operations on a running system, found and shrunk by hypothesis; after each run it is right to the byte."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.support.cluster import Cluster
from tests.support.mischief import Mischief


class Machine(RuleBasedStateMachine):
    """One folder of a cluster, and everything that can be done to it while scans are under way."""

    cluster: Cluster
    #: What went wrong first. Hypothesis runs a failed case once more, and would tell how that one ended.
    failure: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []
        root = os.fsencode(self.cluster.root)
        self.top = tempfile.mkdtemp(dir=root)
        self.outside = tempfile.mkdtemp(dir=os.path.dirname(root))
        self.mischief = Mischief(self.top, self.outside, random.Random(0))

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Keeps the first failure, with what led to it and what the system says of itself."""
        try:
            yield
        except Exception as error:
            if not self.failure:
                said = [self.cluster.command(what, check=False).stdout for what in ("status", "payloads", "events")]
                type(self).failure = "\n".join([*self.story, repr(error), str(error), *said])
            raise

    @rule(seed=st.integers(0, 2**32 - 1), times=st.integers(1, 60))
    def some(self, seed: int, times: int) -> None:
        """A burst of changes."""
        self.story.append(f"some({seed}, {times})")
        self.mischief.rng.seed(seed)
        for _ in range(times):
            self.mischief.do()

    @rule()
    def big(self) -> None:
        """A tree moves in at once, and has to be scanned while other things happen."""
        self.story.append("big")
        moving = tempfile.mkdtemp(dir=self.outside)
        for number in range(40):
            os.makedirs(moving + b"/%d/a/b" % number)
        os.rename(moving, self.top + b"/" + os.path.basename(moving))

    @rule()
    def settle(self) -> None:
        """Whatever comes now finds it quiet."""
        self.story.append("settle")
        with self.told():
            self.cluster.settled()

    @rule(who=st.sampled_from(["scanner.data.0", "scanner.data.1", "syncer.data", "watcher.data", "view.main"]))
    def kill_one(self, who: str) -> None:
        """A process dies."""
        self.story.append(f"kill {who}")
        with self.told():
            self.cluster.kill(who)

    def teardown(self) -> None:
        """It claims to be right, and is; names that share a changed inode are right after their audit."""
        with self.told():
            self.cluster.settled()
            if self.mischief.linked:
                self.cluster.becomes_right()
            else:
                difference = self.cluster.difference()
                assert not difference, str(difference)
        shutil.rmtree(self.top)
        shutil.rmtree(self.outside)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_any_operations_end_right(shared: Cluster, tmp_path: Path) -> None:
    class Here(Machine):
        cluster = shared

    try:
        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=6,
                stateful_step_count=8,
                deadline=None,
                database=None,
                phases=[Phase.generate],  # no two runs are alike, so nothing can be made smaller
                suppress_health_check=list(HealthCheck),
            ),
        )
    except Exception as error:
        raise AssertionError(Here.failure or repr(error)) from error
