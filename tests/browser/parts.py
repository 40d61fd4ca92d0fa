"""Parts that a host may lack: the browser's driver, the browser, and the accessibility checker."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
AXE = "axe-core@4.14.1"


def missing(part: str, *, at_import: bool = False) -> NoReturn:
    """Skip what needs it, by name; fail where every part is required."""
    if os.environ.get("DEPLOYER_TEST_REQUIRE_PARTS"):
        pytest.fail(f"{part} is missing")
    pytest.skip(f"needs {part}", allow_module_level=at_import)


try:
    from playwright.sync_api import BrowserContext, Error, Locator, Page, Response, expect
except ModuleNotFoundError:
    missing("playwright", at_import=True)

__all__ = ["BrowserContext", "Error", "Locator", "Page", "Response", "axe_script", "chromium", "expect", "missing"]

expect.set_options(timeout=10_000)


def chromium() -> str:
    """Where Chromium is."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or missing("chromium")


def axe_script() -> str:
    """The checker's source, fetched once and kept outside the repository's files."""
    folder = ROOT / ".test-parts" / AXE
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        npm = shutil.which("npm") or missing("npm")
        folder.mkdir(parents=True, exist_ok=True)
        words = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if not script.exists():
            missing(f"{AXE} ({done.stderr.strip()})")
    return script.read_text()
