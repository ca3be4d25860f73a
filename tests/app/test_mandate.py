"""The mandate on disk: a person's passphrase, a pinned key, and no way around either."""

import json
import os
import stat
from dataclasses import dataclass, field

import pytest

from blofin_cli.app import catalog, mandate
from blofin_cli.app.context import Context
from blofin_cli.app.spec import invoke
from blofin_cli.core.mandate import BUILT_IN
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import BlofinError, ConfigError, RefusedError

PASSPHRASE = "correct horse battery"
NOW_MS = 1_795_000_000_000


@dataclass
class Watch:
    """A clock that a test moves."""

    ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Person:
    """Somebody at a terminal who types these answers in turn."""

    state: str
    answers: list[str] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    heard: list[str] = field(default_factory=list)

    def context(self, **changes) -> Context:
        given = {
            "face": "cli", "state_override": self.state, "demand": self.answer,
            "secret": self.answer, "say": self.heard.append, "clock": self.watch,
        }  # fmt: skip
        return Context(**(given | changes))

    def answer(self, question: str) -> str:
        return self.answers.pop(0) if self.answers else ""

    async def does(self, name: str, answers: tuple[str, ...] = (), **arguments):
        self.answers = list(answers)
        return await invoke(catalog.load(name), arguments, self.context())


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch) -> None:
    """A passphrase is stretched for half a second; not in every test."""
    monkeypatch.setattr(mandate, "SCRYPT_COST", 2**8)


@pytest.fixture
def person(tmp_path) -> Person:
    return Person(str(tmp_path / "state.db"))


@pytest.fixture
async def owner(person) -> Person:
    """A person with a signed mandate for live trading."""
    await person.does("mandate", (PASSPHRASE, PASSPHRASE), action="init")
    draft = mandate.folder() / "mandate.toml"
    draft.write_text(draft.read_text().replace('["dry-run", "demo"]', '["demo", "live"]'))
    await person.does("mandate", (PASSPHRASE,), action="sign")
    return person


async def test_without_a_mandate_the_built_in_one_holds(person):
    """Nobody signed anything: play money."""
    told = await person.does("mandate")
    assert told.state == "built-in"
    assert mandate.load(person.context()).mandate == BUILT_IN


async def test_next_step_follows_how_far_the_mandate_is(person):
    """Make it, mend it, sign it: each is said when it is next."""
    assert "mandate init" in (await person.does("mandate")).next_step
    await person.does("mandate", (PASSPHRASE, PASSPHRASE), action="init")
    assert "mandate sign" in (await person.does("mandate")).next_step
    (mandate.folder() / "mandate.toml").write_text("modes =")
    assert "mend" in (await person.does("mandate")).next_step


async def test_signed_mandate_is_in_force(owner):
    """Init, edit, sign, load: the words of the draft hold."""
    signed = mandate.load(owner.context())
    assert Mode.LIVE in signed.mandate.modes
    assert signed.signed_ms == NOW_MS
    assert (await owner.does("mandate", action="show")).state == "in force"


def test_nothing_secret_lies_open(person, owner):
    """Files are their owner's alone, the key is encrypted, the passphrase nowhere."""
    for path in mandate.folder().iterdir():
        if path.name.startswith("mandate"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert PASSPHRASE.encode() not in path.read_bytes()
    key = mandate.unlock(owner.context(), PASSPHRASE).private_bytes_raw()
    for path in mandate.folder().iterdir():
        assert key.hex().encode() not in path.read_bytes()
        assert key not in path.read_bytes()
    assert not any(PASSPHRASE in line for line in owner.heard)


@pytest.mark.parametrize("face", ["mcp", "cron"])
async def test_nobody_signs_without_a_terminal(person, face):
    """--yes answers no passphrase."""
    context = person.context(face=face, demand=None, secret=None, consent=True)
    for name, arguments in (("mandate", {"action": "init"}), ("resume", {})):
        with pytest.raises(RefusedError, match=r"person|terminal"):
            await invoke(catalog.load(name), arguments, context)


@pytest.mark.parametrize(
    ("answers", "why"),
    [((PASSPHRASE, "another one here"), "differ"), (("short", "short"), "at least 10")],
)
async def test_init_refuses_a_bad_passphrase(person, answers, why):
    """Typed twice the same, and long enough."""
    with pytest.raises(BlofinError, match=why):
        await person.does("mandate", answers, action="init")
    assert not mandate.exists(person.context())


async def test_second_init_is_refused(owner):
    """A new key would be a new owner."""
    with pytest.raises(ConfigError, match="already"):
        await owner.does("mandate", (PASSPHRASE, PASSPHRASE), action="init")


async def test_wrong_passphrase_signs_nothing(owner):
    """The old mandate stays in force."""
    draft = mandate.folder() / "mandate.toml"
    draft.write_text(draft.read_text().replace("leverage_max = 3", "leverage_max = 20"))
    with pytest.raises(RefusedError, match="wrong passphrase"):
        await owner.does("mandate", ("not the one",), action="sign")
    assert mandate.load(owner.context()).mandate.leverage_max == 3


async def test_five_wrong_guesses_lock_for_a_minute(owner):
    """B52: guessing is slow; the right word is refused too until the minute is over."""
    for _ in range(5):
        with pytest.raises(RefusedError, match="wrong passphrase"):
            await owner.does("resume", ("guess",))
    with pytest.raises(RefusedError, match="5 wrong guesses"):
        await owner.does("resume", (PASSPHRASE,))
    owner.watch.ms += 60_001
    assert (await owner.does("resume", (PASSPHRASE,))).state == "not halted"


@pytest.mark.parametrize("word", ["resume", "", "yes"])
async def test_with_a_mandate_the_typed_word_is_not_enough(owner, word):
    """Where there is a passphrase, nothing else answers."""
    with pytest.raises(RefusedError):
        await owner.does("resume", (word,))


async def test_without_a_mandate_the_word_itself_resumes(person):
    """Play money: a typed word in a terminal."""
    assert (await person.does("resume", ("resume",))).state == "not halted"
    with pytest.raises(RefusedError, match="not confirmed"):
        await person.does("resume", ("yes",))


def edit(change) -> None:
    path = mandate.folder() / "mandate.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(text=d["text"].replace('"leverage_max":3', '"leverage_max":9')),
        lambda d: d.update(signature=d["signature"][::-1]),
        lambda d: d.update(signature="zz"),
        lambda d: d.pop("signature"),
        lambda d: d.update(text=5),
    ],
)
def test_altered_mandate_is_not_traded_on(owner, change):
    """One clear line, never a permissive fallback."""
    edit(change)
    with pytest.raises(ConfigError, match="does not match its signature"):
        mandate.load(owner.context())


@pytest.mark.parametrize("content", ["", "null", "[]", "not json", '{"text"'])
def test_broken_file_is_not_traded_on(owner, content):
    """Nor is one that cannot be read."""
    (mandate.folder() / "mandate.json").write_text(content)
    with pytest.raises(ConfigError):
        mandate.load(owner.context())


def test_removed_mandate_is_noticed(owner):
    """Taking the file away does not bring the built-in one back."""
    (mandate.folder() / "mandate.json").unlink()
    with pytest.raises(ConfigError, match="gone"):
        mandate.load(owner.context())


async def test_all_files_taken_away_leave_the_passphrase_in_force(owner):
    """The state remembers that there is an owner."""
    for path in list(mandate.folder().glob("mandate*")):
        path.unlink()
    with pytest.raises(ConfigError, match="gone"):
        mandate.load(owner.context())
    with pytest.raises(ConfigError, match="missing"):
        await owner.does("resume", ("resume",))


async def test_key_of_somebody_else_is_not_the_owners(owner, tmp_path):
    """An agent that makes a key and signs with it is refused by the pin."""
    for path in list(mandate.folder().glob("mandate*")):
        path.unlink()
    stranger = Person(str(tmp_path / "other" / "state.db"))
    await stranger.does("mandate", (PASSPHRASE, PASSPHRASE), action="init")
    await stranger.does("mandate", (PASSPHRASE,), action="sign")
    with pytest.raises(ConfigError, match="pinned"):
        mandate.load(owner.context())
    with pytest.raises(ConfigError, match="pinned"):
        await owner.does("resume", (PASSPHRASE,))


def test_open_files_are_refused_with_the_command_that_mends_them(owner):
    """B36: a key others may read, a mandate others may change."""
    path = mandate.folder() / "mandate.key"
    path.chmod(0o644)
    with pytest.raises(ConfigError) as refusal:
        mandate.unlock(owner.context(), PASSPHRASE)
    assert "chmod 600" in refusal.value.hint


def test_pipe_or_huge_file_does_not_hang(owner):
    """B35: kind and size are looked at first."""
    path = mandate.folder() / "mandate.json"
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="regular file"):
        mandate.load(owner.context())
    path.unlink()
    path.write_bytes(b"x" * 70_000)
    with pytest.raises(ConfigError, match="larger"):
        mandate.load(owner.context())


async def test_draft_must_expire_within_a_year(owner):
    """No mandate for ever."""
    draft = mandate.folder() / "mandate.toml"
    lines = [
        'expires = "2099-01-01"' if line.startswith("expires") else line
        for line in draft.read_text().splitlines()
    ]
    draft.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="366 days"):
        await owner.does("mandate", (PASSPHRASE,), action="sign")


async def test_expired_mandate_says_so(owner):
    """It is still signed, and allows nothing."""
    owner.watch.ms += 91 * 86_400_000
    assert (await owner.does("mandate")).state == "expired"
    assert mandate.load(owner.context()).mandate.is_expired(owner.watch.ms)


async def test_what_a_person_did_is_in_the_trail(owner):
    """Every passage, refused ones too."""
    with pytest.raises(RefusedError):
        await owner.does("resume", ("guess",))
    await owner.does("resume", (PASSPHRASE,))
    rows = owner.context().journal.audit()
    assert [(row.command, row.outcome) for row in rows][:1] == [("resume", "ok")]
    assert not any("horse" in json.dumps(row.arguments) for row in rows)
