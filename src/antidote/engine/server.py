"""Whether a tracking server answers, asked once and shortly."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request

PATIENCE = 3  # seconds that a server has to answer


def silent(uri: str) -> str:
    """Why a server does not answer, or nothing; MLflow itself would try for minutes."""
    if not uri.startswith(("http://", "https://")):
        return ""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PATIENCE).close()
    except urllib.error.HTTPError as error:  # an answer, but perhaps a proxy's
        return f"status {error.code}" if error.code >= 500 else ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        # MLflow may have been told of certificates that Python does not know
        return "" if isinstance(why, ssl.SSLError) else str(why)
    return ""
