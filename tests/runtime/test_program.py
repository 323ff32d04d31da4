"""Where programs are, and what a courier is told."""

from __future__ import annotations

from fustor.runtime.document import Software
from fustor.runtime.program import COURIER, courier_spec, program_folder, versions_folder
from protocols.limits import ProcessLimits

DIGEST = "cd" * 32


def test_a_program_is_in_a_folder_of_its_digest_and_the_installed_one_in_none() -> None:
    assert versions_folder("/s") == "/s/versions"
    assert program_folder("/s", Software(DIGEST)) == f"/s/versions/{DIGEST}"
    assert program_folder("/s", Software()) == ""


def test_a_courier_is_told_what_to_bring_whom_to_trust_and_what_to_try() -> None:
    checks = [{"module": "actors.query", "config": {"a": 1}}]
    spec = courier_spec("/s", DIGEST, {"file": "/b"}, checks, ProcessLimits())
    assert (spec.name, spec.program) == (COURIER, ""), "of the installed program, always"
    assert spec.config == {
        "digest": DIGEST,
        "versions": "/s/versions",
        "release_keys": "/s/keys/release",
        "file": "/b",
        "checks": checks,
    }
