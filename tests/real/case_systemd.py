"""What systemd itself says of the shipped unit. tests/lab boots machines with it."""

import re
import subprocess

from support.cases import case, check, equal, sh
from support.suite import ROOT

UNIT = ROOT / "systemd/pullgate.service"


@case
def the_unit_is_valid_and_confined(lab):
    """systemd-analyze has nothing to say about the unit, and its exposure is 1.5 or less."""
    unit = lab.folder / "pullgate.service"
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/bin/pullgate", str(lab.binary)), encoding="utf-8")
    verify = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], text=True, capture_output=True, check=False)
    equal((verify.returncode, verify.stdout + verify.stderr), (0, ""))
    score = sh(f"systemd-analyze security --offline=true --no-pager {UNIT}").splitlines()[-1]
    exposure = float(re.search(r"(\d+\.\d)", score)[1])
    check(exposure <= 1.5, score)
