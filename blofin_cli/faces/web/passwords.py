"""The password of the web dashboard: hashed with scrypt in a file that only its owner can read."""

import base64
import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from blofin_cli.errors import ConfigError, UsageError

FILE_NAME = "web-password"
LENGTH_MIN, LENGTH_MAX = 10, 1024
# 32 MB and about 0.1 s a guess.
COST, BLOCK, LANES = 2**15, 8, 1
_MEMORY_MAX = 256 * COST * BLOCK
_FILE_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """Where the hash lies. It is read at every use, so that a new password counts at once.

    `given` is a hash from the settings, which comes before the file.
    """

    path: Path
    given: str | None = None

    def choose(self, password: str) -> None:
        """Replace the password.

        Errors: UsageError when it is too short or long; ConfigError when it cannot be written.
        """
        if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
            raise UsageError(f"a password has {LENGTH_MIN} to {LENGTH_MAX} characters")
        salt = secrets.token_bytes(16)
        words = ["scrypt", str(COST), str(BLOCK), str(LANES), _text(salt)]
        line = ":".join([*words, _text(_digest(password, salt))])
        fresh = self.path.with_name(f"{FILE_NAME}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as out:
                out.write(line + "\n")
            fresh.replace(self.path)
        except OSError as defect:
            raise ConfigError(f"the password cannot be stored: {defect.strerror}") from None

    def fingerprint(self) -> str:
        """Changes with the password; sessions opened under another one are over.

        Errors: ConfigError when there is no password or its file is not safe.
        """
        return hashlib.sha256(self._line().encode()).hexdigest()

    def matches(self, password: str) -> bool:
        """Whether this is the password; takes about 0.1 s of one processor.

        Errors: ConfigError when there is no password or its file is not safe.
        """
        salt, wanted = _parts(self._line())
        if len(password) > LENGTH_MAX:
            return False
        return hmac.compare_digest(_digest(password, salt), wanted)

    def _line(self) -> str:
        if self.given is not None:
            return self.given.strip()
        try:
            status = self.path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > _FILE_BYTES_MAX:
                raise ConfigError(f"{self.path} is not a password file")
            if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
                raise ConfigError(
                    f"{self.path} can be read by others", hint=f"chmod 600 {self.path}"
                )
            return self.path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise ConfigError(
                "the web dashboard has no password", hint="blofin web --set-password"
            ) from None
        except (OSError, UnicodeDecodeError) as defect:
            raise ConfigError(f"{self.path} cannot be read: {defect}") from None


def _parts(line: str) -> tuple[bytes, bytes]:
    kind, *costs, salt, digest = [*line.split(":"), "", ""][:6]
    if kind != "scrypt" or costs != [str(COST), str(BLOCK), str(LANES)]:
        raise ConfigError("the password file is damaged", hint="blofin web --set-password")
    try:
        return base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except ValueError:
        raise ConfigError(
            "the password file is damaged", hint="blofin web --set-password"
        ) from None


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=COST,
        r=BLOCK,
        p=LANES,
        maxmem=_MEMORY_MAX,
        dklen=32,
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
