"""Checks that docs/clients.md shows lines of the clients as they are."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {"python": ("python", "*.py"), "go": ("go", "*.go"), "typescript": ("typescript/src", "*.ts"), "java": ("java/src", "*.java")}


def main() -> int:
    page, wrong = (ROOT / "docs/clients.md").read_text(), 0
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if language not in FOLDERS:
            continue
        folder, pattern = FOLDERS[language]
        code = "\n".join(file.read_text() for file in (ROOT / "clients" / folder).rglob(pattern))
        for line in filter(None, map(str.strip, block.splitlines())):
            if line not in code:
                print(f"docs/clients.md: no client has: {line}")
                wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
