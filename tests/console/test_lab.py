"""`audition lab` as a user types it, on the claim of the page about the lab."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest

from audition.console import main

PAGE = Path(__file__).parents[2] / "docs" / "lab.md"


def code(page: Path) -> str:
    [block] = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return block


SLOW = """
import time
from pathlib import Path
from audition.lab import Claim

def run(config, progress):
    Path("begun").touch()
    time.sleep(60)

CLAIM = Claim(name="slow", says="It takes long.", source="ours", published={}, blind_spot="all",
              seeds=1, options={}, run=run, plots=lambda figures: {})
"""

HOSTILE = r"""
from matplotlib.figure import Figure
from audition.lab import Check, Claim, Figures

BAD = "<script>alert(1)</script>\x1b[31m\u202e</style>{{ 70707 * 7 }}[bold]x[/bold] $\\frac{"

def run(config, progress):
    progress(BAD, float("nan"))
    return Figures(
        figures={BAD: BAD, "lost": float("nan"), "list": [{BAD: [1, BAD]}]},
        checks=(Check(says=BAD, got=BAD, due=BAD, holds=True),
                Check(says="lost", got=float("nan"), due="> 0", holds=False)),
        seeds=(3, 1),
    )

def plots(figures):
    drawn = Figure()
    drawn.text(0.5, 0.5, BAD.replace("$", "").replace("\x1b", ""))
    return {BAD: drawn}

CLAIM = Claim(name="hostile", says=BAD, source=BAD, published={BAD: BAD}, blind_spot=BAD, seeds=2,
              options={}, run=run, plots=plots)
"""

BROKEN = "import absent_module_of_a_claim"


PACKAGE = {
    "best_of_n.py": code(PAGE),
    "slow.py": SLOW,
    "hostile.py": HOSTILE,
    "broken.py": BROKEN,
    "claims-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: claims\nVersion: 1.0\n"
    "Summary: Claims for a test\n",
    "claims-1.0.dist-info/entry_points.txt": "[audition.claims]\n"
    "best-of-n = best_of_n:CLAIM\nslow = slow:CLAIM\nhostile = hostile:CLAIM\n"
    "broken = broken:CLAIM\nfew-audits = slow:CLAIM\nother-name = slow:CLAIM\n",
}


class Done(NamedTuple):
    stdout: str
    stderr: str


class Lab:
    """Runs `audition lab` beside an installed package with claims of its own."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.installed = folder / "installed"
        self.home = folder / "home" / "lab"
        for name, text in PACKAGE.items():
            (self.installed / name).parent.mkdir(parents=True, exist_ok=True)
            (self.installed / name).write_text(text, encoding="utf-8")

    def __call__(self, *words: str, code: int = 0, command: str = "lab") -> Done:
        self.capture.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["audition", command, *words])
            with pytest.raises(SystemExit) as ended:
                main()
        done = Done(*self.capture.readouterr())
        assert (ended.value.code or 0) == code, (words, ended.value.code, done)
        return done

    def json(self, *words: str) -> dict:
        [line] = self(*words, "--json").stdout.splitlines()
        return json.loads(line)

    def refused(self, *words: str, code: int = 1) -> str:
        [line] = self(*words, code=code).stderr.splitlines()
        return line

    def python(self, *words: str) -> subprocess.Popen[str]:
        """A process of its own, which ends with its group."""
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.installed), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Lab]:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("AUDITION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    found = Lab(tmp_path, capsys)
    monkeypatch.syspath_prepend(str(found.installed))
    monkeypatch.chdir(tmp_path)
    yield found
    for name in ("best_of_n", "slow", "hostile", "broken"):
        sys.modules.pop(name, None)


class Structure(HTMLParser):
    """The tags of a page, apart from its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_claim_of_the_page_runs_as_a_script_and_prints_what_the_page_says(lab):
    printed, _ = lab.python("installed/best_of_n.py").communicate(timeout=120)
    assert printed.strip() == "best-of-n True (0, 1, 2)"
    assert printed.strip() in PAGE.read_text(encoding="utf-8")


def test_json_is_one_object_with_the_fields_of_the_page(lab):
    found = lab.json("run", "best-of-n", "--quick", "--seeds", "2", "--option", "n=9")
    names = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert list(found) == names
    assert (found["claim"], found["holds"], found["seeds"]) == ("best-of-n", True, [0, 1])
    assert found["figures"]["n"] == 9
    assert set(found["checks"][0]) == {"says", "got", "due", "holds"}


def test_the_screen_shows_checks_seeds_and_last_the_blind_spot(lab):
    told = lab("run", "best-of-n", "--quick").stdout
    assert "furthest of 5 seeds from 4/5" in told
    assert "best-of-n holds; " in told
    assert "seeds: 0, 1, 2, 3, 4" in told
    assert told.rstrip().splitlines()[-2].strip() == "Blind spot"


def test_the_list_imports_no_claim_and_names_the_package_of_a_strange_one(lab):
    found = lab.json("list")["claims"]
    names = [one["name"] for one in found]
    assert names[:2] == ["camera-dropbox", "boxed-thinking"]
    strange = next(one for one in found if one["name"] == "broken")
    assert (strange["says"], strange["package"]) == ("Claims for a test", "claims")
    assert "of the package claims" in lab("list").stdout
    heavy = "{'torch', 'matplotlib', 'numba', 'gymnasium', 'slow', 'best_of_n'}"
    script = (
        "import sys, audition.console.lab as lab; lab.listed(as_json=True)\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    printed, _ = lab.python("-c", script).communicate(timeout=120)
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("best-of",), 1, "did you mean best-of-n?"),
        (("\x1b[31m",), 1, "there are camera-dropbox"),
        (("few-audits",), 1, "few-audits is claimed by several packages: audition, claims"),
        (("other-name",), 1, "is not a claim of that name"),
        (("broken",), 1, "absent_module_of_a_claim"),
        (("best-of-n", "--option", "n"), 2, "NAME=VALUE"),
        (("best-of-n", "--option", "n=1", "--option", "n=2"), 2, "twice"),
        (("best-of-n", "--option", "m=1"), 1, "has no option 'm'; its options: n"),
        (("best-of-n", "--option", "n=2.5"), 1, "option n is 2.5; it takes a whole number"),
        (("best-of-n", "--option", "n=true"), 1, "it takes a whole number"),
        (("best-of-n", "--option", "n=" + "9" * 5000), 1, "it takes a whole number"),
        (("best-of-n", "--option", "n=" + "[" * 9000), 1, "it takes a whole number"),
        (("best-of-n", "--option", f"n={2**53}"), 1, "it takes a whole number"),
        (("best-of-n", "--option", "n=0"), 1, "it takes 1 to 100"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_nothing_is_kept(lab, words, code, says):
    line = lab.refused("run", *words, "--quick", code=code)
    assert says in line
    assert len(line) < 600
    assert not list(lab.home.rglob("*.json"))


def test_seeds_are_bounded(lab):
    for number in ("0", "-1", "1001"):
        line = lab.refused("run", "best-of-n", "--seeds", number, code=2)
        assert line == f"audition: --seeds {number}: give a number from 1 to 1,000"


def test_a_claim_that_does_not_hold_is_exit_code_1_only_where_that_is_asked_for(lab):
    assert lab.json("run", "hostile")["holds"] is False
    done = lab("run", "hostile", "--fail-on", "miss", code=1)
    assert "hostile does not hold: 1 of 2 checks missed" in done.stderr
    lab("run", "best-of-n", "--quick", "--fail-on", "miss")


def test_without_the_extra_one_line_says_how_to_get_it(lab, monkeypatch):
    absent = ("torch", "numba")
    monkeypatch.setattr(
        "audition.lab.catalogue.find_spec", lambda name: None if name in absent else object()
    )
    line = lab.refused("run", "camera-dropbox")
    assert line == (
        "audition: camera-dropbox needs pip install 'audition[learn]' (numba, torch not there)"
    )
    assert "pip install 'audition[learn]'" in lab("list").stderr
    assert lab.json("list")["missing"] == ["numba", "torch"]
    lab("run", "best-of-n", "--quick")


def test_an_interrupt_leaves_nothing_half_written(lab):
    words = ("-m", "audition", "lab", "run", "slow", "--report", "out/slow.html")
    with lab.python(*words) as running:
        while not (lab.folder / "begun").exists():
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(120) == 130
        assert running.stderr.read() == "audition: interrupted; nothing was kept\n"
    assert not [path for path in lab.home.rglob("*") if path.is_file()]
    assert not list((lab.folder / "out").iterdir())


def test_a_result_can_be_reported_again_without_its_claim(lab):
    lab("run", "best-of-n", "--quick")
    (lab.installed / "claims-1.0.dist-info" / "entry_points.txt").write_text("")
    told = lab("report", "--out", "lab.html")
    assert "1 claim, 8 not run here" in told.stdout
    page = (lab.folder / "lab.html").read_text(encoding="utf-8")
    assert "furthest of 5 seeds from 4/5" in page
    assert "No pictures: there is no claim" in page


def test_the_report_is_of_the_latest_run_and_the_same_each_time(lab):
    lab("run", "best-of-n", "--quick", "--option", "n=3")
    lab("run", "best-of-n", "--quick", "--option", "n=4", "--seeds", "3")
    lab("report", "--out", "a.html")
    lab("report", "--out", "b.html")
    page = (lab.folder / "a.html").read_text(encoding="utf-8")
    assert page == (lab.folder / "b.html").read_text(encoding="utf-8")
    assert "audition lab run best-of-n --quick --seeds 3<" in page
    assert "--option n=3" not in page
    for said in (
        "By symmetry of n + 1 exchangeable draws.",
        "n / (n + 1)",
        "0, 1, 2",
        "Draws without ties only",
        f"numpy {__import__('numpy').__version__}",
        f"with {os.cpu_count()} core",
        "How often the best of n wins, by seed",
        "not run here",
    ):
        assert said in page
    [picture] = Structure(page).of("img")
    assert picture["src"].startswith("data:image/svg+xml;base64,")


def test_hostile_words_of_a_claim_neither_run_nor_steer_nor_fetch(lab):
    done = lab("run", "hostile", "--report", "hostile.html")
    page = (lab.folder / "hostile.html").read_text(encoding="utf-8")
    for written in (done.stdout, done.stderr, page):
        assert "\x1b" not in written
        assert "\u202e" not in written
    assert "⟨U+202E⟩" in done.stdout
    assert "[bold]x[/bold]" in done.stdout
    structure = Structure(page)
    assert not structure.of("script")
    assert len(structure.of("style")) == 1
    assert "494949" not in re.sub(r"base64,[^\"]*", "", page).partition("</style>")[2]
    for _, attributes in structure.tags:
        assert not {"style", "action", "srcset"} & set(attributes)
        assert all(not name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_a_kept_file_that_is_no_result_is_named(lab, content):
    lab("run", "best-of-n", "--quick")
    (lab.home / "best-of-n" / "99991231.json").write_bytes(content)
    line = lab.refused("report")
    assert "99991231.json: not a result of best-of-n; remove it" in line
    assert not (lab.folder / "audition-lab.html").exists()


def test_a_report_of_nothing_is_refused(lab):
    assert "nothing was run yet" in lab.refused("report")


def test_the_demonstration_ends_with_what_is_learned_from_outcomes_and_from_approval(lab):
    pytest.importorskip("numba")
    done = lab("--json", command="demo")
    found = json.loads(done.stdout)["camera_dropbox"]
    assert (found["outcome"]["intended"], found["outcome"]["hack"]) == (0, 1)
    assert (found["process"]["intended"], found["process"]["hack"]) == (1, 0)
    assert found["outcome"]["observed"] > found["process"]["observed"]
    assert found["outcome"]["true"] < found["process"]["true"]
    assert "over all 84 starts" in done.stderr.splitlines()[-1]


def test_the_demonstration_says_how_to_see_it_where_the_extra_is_not_installed(lab, monkeypatch):
    monkeypatch.setattr("audition.lab.catalogue.find_spec", lambda name: None)
    done = lab("--json", command="demo")
    assert json.loads(done.stdout)["camera_dropbox"] is None
    assert "pip install 'audition[learn]'" in done.stderr.splitlines()[-1]


def test_the_doctor_says_whether_the_extra_is_there_and_mends_nothing(lab, monkeypatch):
    def extra():
        from audition.console import doctor

        return doctor._learn()

    assert extra().found == "installed"
    monkeypatch.setattr("audition.lab.catalogue.find_spec", lambda name: None)
    assert extra().well
    assert "pip install 'audition[learn]'" in extra().found
