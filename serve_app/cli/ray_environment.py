"""What Ray reads from the environment when it is imported, so that nobody else can reach the Ray of this service."""

from __future__ import annotations

import secrets

from serve_app.errors import ConfigError
from serve_app.settings import export, ray_auth_mode, ray_has_token

TOKEN_BYTES = 32


def guard_ray() -> None:
    """
    Have Ray listen on loopback only, and ask for a token that nobody but this service knows; before `import ray`.

    Ray would listen on all addresses, and keep its token in a file that others on the machine may read. Whoever reaches one
    of its ports with the token, or without where there is none, can run code as this process.

    Raises:
        ConfigError: The environment switches the token off.
    """
    mode = ray_auth_mode()
    if mode not in (None, "token"):
        raise ConfigError(
            f"RAY_AUTH_MODE is {mode!r}, and without Ray's token whoever reaches one of its ports can run code here: unset it"
        )
    token = {} if ray_has_token() else {"RAY_AUTH_TOKEN": secrets.token_hex(TOKEN_BYTES)}
    # By its name for other systems, but what it says is: this machine joins no others, so loopback is enough.
    export({"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **token})
