"""Where there are administrators, a dangerous drill takes two of them; and the drill of a stolen session."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.access.second_factor import make_code
from tests.faults.drills.test_site_loss import biyi

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

SYSTEM, SECURITY, AUDIT = "an.bo", "chen.yu", "deng.li"
PASSWORD = "Two-people-1-drill"
STEP_SECONDS = 30
"""Of a code; one that was used is good no more (RFC 6238)."""


def staff(home: Path, *words: str, **variables: str) -> str:
    command = [sys.executable, "-c", "from runbooks.cli import main; main()", "staff", *words]
    environment = {**os.environ, "BIYI_HOME": str(home), **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Administrator:
    """Somebody with a password of their own and an authenticator app."""

    def __init__(self, home: Path, name: str, first_password: str) -> None:
        self.home, self.name = home, name
        staff(home, "login", name, BIYI_STAFF_PASSWORD=first_password)
        staff(home, "password", "--new", PASSWORD, BIYI_STAFF_PASSWORD=first_password)
        staff(home, "login", name, BIYI_STAFF_PASSWORD=PASSWORD)
        self.secret = json.loads(staff(home, "totp", "--json"))["secret"]
        used_s = time.time()
        staff(home, "totp", "--code", make_code(self.secret, used_s))

        # A code later than the one used before; the next one is good already.
        code = make_code(self.secret, max(used_s + STEP_SECONDS, time.time()))
        staff(home, "login", name, BIYI_STAFF_PASSWORD=PASSWORD, BIYI_STAFF_CODE=code)
        self.token = (home / "staff-session").read_text()

    def sit_down(self) -> None:
        """Their session is the one at the command line now."""
        (self.home / "staff-session").write_text(self.token)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("two-people-stand")
    try:
        up = biyi(home, "stand", "up", "--no-backups")
        assert up.returncode == 0, up.stderr
        yield home
    finally:
        biyi(home, "stand", "down")


def test_a_stolen_session_is_shut_by_two_people(stand: Path) -> None:
    words = ("drill", "run", "staff-compromise", "--execute", "--json")
    nobody = biyi(stand, *words)
    assert nobody.returncode == 1
    assert "biyi staff init" in nobody.stderr

    names = ("--system", SYSTEM, "--security", SECURITY, "--audit", AUDIT)
    first = json.loads(staff(stand, "init", *names, "--json"))
    system, security = (Administrator(stand, name, first[name]) for name in (SYSTEM, SECURITY))

    system.sit_down()
    asked = biyi(stand, *words)
    assert asked.returncode == 1
    approval = json.loads(asked.stdout)["approval"]
    assert biyi(stand, "staff", "approve", approval).returncode == 1, "who asks may not approve"
    assert biyi(stand, *words, "--approval", approval).returncode == 1, "nobody has approved it"

    security.sit_down()
    staff(stand, "approve", approval)
    system.sit_down()
    other = biyi(stand, "drill", "run", "link-cut", "--execute", "--json", "--approval", approval)
    assert other.returncode == 1, "an approval is of one drill"
    done = biyi(stand, *words, "--approval", approval)
    plain = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(plain, indent=1)
    header = json.loads((Path(plain["evidence"]) / "history.jsonl").read_text().splitlines()[0])
    assert header["options"] == {"approval": approval, "asked_by": SYSTEM, "approved_by": SECURITY}
    assert biyi(stand, *words, "--approval", approval).returncode == 1, "it was used"
